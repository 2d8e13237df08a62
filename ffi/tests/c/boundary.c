/* Every function with what it must refuse: a status, an error that agrees, outputs untouched.
 *
 *     boundary FOLDER */
#include <math.h>

#include "callbacks.h"

static char path[4096];

static const char *under(const char *folder, const char *name) {
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void null_is_nothing(void) {
    adafed_error_free(NULL);
    adafed_bytes_free(NULL);
    adafed_config_free(NULL);
    adafed_participant_free(NULL);
    adafed_model_free(NULL);
    CHECK(adafed_error_status(NULL) == ADAFED_STATUS_NULL_POINTER);
    CHECK(adafed_error_code(NULL)[0] == '\0' && adafed_error_message(NULL)[0] == '\0');
    CHECK(!adafed_error_is_retryable(NULL));
    CHECK(adafed_bytes_data(NULL) == NULL && adafed_bytes_len(NULL) == 0);
    CHECK(adafed_model_input_len(NULL) == 0 && adafed_model_output_len(NULL) == 0);
    CHECK(adafed_model_parameters(NULL) == 0);
    CHECK(strcmp(adafed_version(), ADAFED_VERSION) == 0);
}

static void null_objects_are_refused(void) {
    adafed_progress progress;
    adafed_budget budget;
    adafed_offer offer;
    adafed_bytes *bytes = (adafed_bytes *)&progress;
    adafed_model *model = (adafed_model *)&progress;
    adafed_participant *participant = (adafed_participant *)&progress;
    const size_t shape = 1;
    float value = 7.0f;
    memset(&progress, 0x55, sizeof progress);
    adafed_progress before = progress;
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_new(NULL, &participant, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_tick(NULL, &progress, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_run(NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_offer(NULL, &offer, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_budget(NULL, &budget, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_report(NULL, &bytes, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_device(NULL, &bytes, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_save(NULL, &bytes, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_restore(NULL, NULL, 0, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_model(NULL, &model, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_model_predict(NULL, &value, 1, &value, 1, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_model_save(NULL, "x", &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_response_set(NULL, 200, NULL, 0, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_server(NULL, "x", &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_folder(NULL, "x", &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_policy(NULL, 1.0, 1e-5, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_least_noise_multiplier(NULL, 1.0, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_least_examples(NULL, 1, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_token(NULL, "x", &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_threads(NULL, 1, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_examples(NULL, &shape, 1, &value, 1, NULL, 0, 1, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_examples_with_targets(NULL, &shape, 1, &value, 1, &value, 1, 1, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_example_callback(NULL, &shape, 1, 1, 1, 1, no_example, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_conditions(NULL, verdict, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_events(NULL, count_event, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_log(NULL, count_line, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_key_store(NULL, load_key, save_key, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_transport(NULL, silent, NULL, &error));
    CHECK(memcmp(&progress, &before, sizeof progress) == 0 && value == 7.0f);
    CHECK(bytes == (adafed_bytes *)&progress && model == (adafed_model *)&progress);
    CHECK(participant == (adafed_participant *)&progress);
}

static void wrong_settings_are_refused(void) {
    adafed_config *config = NULL;
    const char *broken = "\xff\xfe";
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_new(NULL, &config, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_new("test", NULL, &error));
    EXPECT(ADAFED_STATUS_INVALID_TEXT, adafed_config_new("", &config, &error));
    EXPECT(ADAFED_STATUS_INVALID_TEXT, adafed_config_new("no/name", &config, &error));
    EXPECT(ADAFED_STATUS_INVALID_TEXT, adafed_config_new(broken, &config, &error));
    CHECK(config == NULL && adafed_config_new(broken, &config, NULL) == ADAFED_STATUS_INVALID_TEXT);
    EXPECT(ADAFED_STATUS_OK, adafed_config_new("test", &config, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_server(config, NULL, &error));
    EXPECT(ADAFED_STATUS_INVALID_TEXT, adafed_config_set_server(config, broken, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_folder(config, NULL, &error));
    EXPECT(ADAFED_STATUS_INVALID_TEXT, adafed_config_set_folder(config, broken, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_token(config, NULL, &error));
    EXPECT(ADAFED_STATUS_INVALID_TEXT, adafed_config_set_token(config, broken, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_token(config, "", &error));
    EXPECT(ADAFED_STATUS_MISSING, adafed_config_set_least_noise_multiplier(config, 1.0, &error));
    EXPECT(ADAFED_STATUS_MISSING, adafed_config_set_least_examples(config, 1, &error));
    const double wrong[] = {-1.0, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        double w = wrong[i];
        EXPECT(ADAFED_STATUS_INVALID_VALUE, adafed_config_set_policy(config, w, 1e-5, &error));
        EXPECT(ADAFED_STATUS_INVALID_VALUE, adafed_config_set_policy(config, 1.0, w, &error));
    }
    EXPECT(ADAFED_STATUS_INVALID_VALUE, adafed_config_set_policy(config, 1.0, 0.0, &error));
    EXPECT(ADAFED_STATUS_INVALID_VALUE, adafed_config_set_policy(config, 1.0, 1.0, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_policy(config, 1.0, 1e-5, &error));
    EXPECT(ADAFED_STATUS_INVALID_VALUE, adafed_config_set_least_noise_multiplier(config, NAN, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_least_noise_multiplier(config, 1.0, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_least_examples(config, 1, &error));
    EXPECT(ADAFED_STATUS_INVALID_VALUE, adafed_config_set_threads(config, 0, &error));
    EXPECT(ADAFED_STATUS_INVALID_VALUE, adafed_config_set_threads(config, SIZE_MAX, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_threads(config, 1, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_conditions(config, NULL, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_events(config, NULL, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_log(config, NULL, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_config_set_transport(config, NULL, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_key_store(config, NULL, save_key, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_key_store(config, load_key, NULL, NULL, &error));
    adafed_config_free(config);
}

static void wrong_examples_are_refused(void) {
    const size_t shape[2] = {1, 2}, hole[2] = {3, 0}, huge[2] = {SIZE_MAX, 2};
    float inputs[4] = {0.0f, 1.0f, 2.0f, 3.0f};
    const float nan[2] = {0.0f, NAN};
    const uint32_t labels[2] = {0, 1};
    adafed_config *c = NULL;
    EXPECT(ADAFED_STATUS_OK, adafed_config_new("test", &c, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_examples(c, NULL, 2, inputs, 4, labels, 2, 2, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_examples(c, shape, 2, NULL, 4, labels, 2, 2, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_examples(c, shape, 2, inputs, 4, NULL, 2, 2, &error));
    EXPECT(ADAFED_STATUS_WRONG_LENGTH,
           adafed_config_set_examples(c, shape, 2, inputs, SIZE_MAX, labels, 2, 2, &error));
    EXPECT(ADAFED_STATUS_INVALID_VALUE,
           adafed_config_set_examples(c, shape, 2, (const float *)((const char *)inputs + 1), 3,
                                      labels, 2, 2, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_examples(c, NULL, 0, inputs, 4, labels, 2, 2, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_examples(c, hole, 2, inputs, 4, labels, 2, 2, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_examples(c, huge, 2, inputs, 4, labels, 2, 2, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_examples(c, shape, 2, inputs, 3, labels, 2, 2, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_examples(c, shape, 2, inputs, 4, labels, 2, 1, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_examples(c, shape, 2, nan, 2, labels, 1, 2, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_examples(c, shape, 2, NULL, 0, NULL, 0, 2, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_examples_with_targets(c, shape, 2, inputs, 4, inputs, 3, 2, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_examples_with_targets(c, shape, 2, inputs, 4, inputs, 2, 0, &error));
    EXPECT(ADAFED_STATUS_OK,
           adafed_config_set_examples_with_targets(c, shape, 2, inputs, 4, inputs, 4, 2, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER,
           adafed_config_set_example_callback(c, shape, 2, 9, 2, 1, NULL, NULL, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_example_callback(c, hole, 2, 9, 2, 1, no_example, NULL, &error));
    EXPECT(ADAFED_STATUS_INVALID_EXAMPLES,
           adafed_config_set_example_callback(c, shape, 2, 9, 2, 0, no_example, NULL, &error));
    EXPECT(ADAFED_STATUS_OK,
           adafed_config_set_example_callback(c, shape, 2, 9, 2, 1, no_example, NULL, &error));
    adafed_config_free(c);
}

static void what_is_missing_is_named(const char *folder) {
    const size_t shape = 2;
    adafed_config *config = NULL;
    adafed_participant *participant = NULL;
    EXPECT(ADAFED_STATUS_OK, adafed_config_new("test", &config, &error));
    EXPECT(ADAFED_STATUS_MISSING, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_transport(config, silent, NULL, &error));
    EXPECT(ADAFED_STATUS_MISSING, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_folder(config, under(folder, "file/x"), &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_policy(config, 1.0, 1e-5, &error));
    EXPECT(ADAFED_STATUS_MISSING, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK,
           adafed_config_set_examples(config, &shape, 1, NULL, 0, NULL, 0, 2, &error));
    FILE *file = fopen(under(folder, "file"), "w");
    CHECK(file != NULL && fclose(file) == 0);
    EXPECT(ADAFED_STATUS_STORE_FAILED, adafed_participant_new(config, &participant, &error));
    CHECK(participant == NULL);
    adafed_config_free(config);
}

static void key_stores_that_fail_stop_the_start(const char *folder) {
    struct key key = {{0}, 0};
    adafed_participant *participant = NULL;
    adafed_config *config = whole_config(under(folder, "keys"), silent, NULL);
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_key_store(config, load_fails, save_key, &key, &error));
    EXPECT(ADAFED_STATUS_CALLBACK_FAILED, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_key_store(config, load_lies, save_key, &key, &error));
    EXPECT(ADAFED_STATUS_CALLBACK_FAILED, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_key_store(config, load_key, save_fails, &key, &error));
    EXPECT(ADAFED_STATUS_CALLBACK_FAILED, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_key_store(config, load_key, save_key, &key, &error));
    CHECK(participant == NULL && key.len == 0);
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &participant, &error));
    CHECK(key.len > 0);
    FILE *file = fopen(under(folder, "keys/device.key"), "r");
    CHECK(file == NULL);
    adafed_bytes *first = NULL, *second = NULL;
    EXPECT(ADAFED_STATUS_OK, adafed_participant_device(participant, &first, &error));
    adafed_participant_free(participant);
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_device(participant, &second, &error));
    CHECK(strcmp((const char *)adafed_bytes_data(first), (const char *)adafed_bytes_data(second)) == 0);
    CHECK(adafed_bytes_len(first) == strlen((const char *)adafed_bytes_data(first)));
    adafed_bytes_free(first);
    adafed_bytes_free(second);
    adafed_participant_free(participant);
    adafed_config_free(config);
}

/* A key from before there was a key store is the device's still. */
static void a_key_in_the_folder_moves_to_the_key_store(const char *folder) {
    struct key key = {{0}, 0};
    adafed_participant *participant = NULL;
    adafed_bytes *before = NULL, *after = NULL;
    adafed_config *config = whole_config(under(folder, "moved"), silent, NULL);
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_device(participant, &before, &error));
    adafed_participant_free(participant);
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_key_store(config, load_key, save_key, &key, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_device(participant, &after, &error));
    CHECK(strcmp((const char *)adafed_bytes_data(before), (const char *)adafed_bytes_data(after)) == 0);
    CHECK(key.len > 0 && fopen(under(folder, "moved/device.key"), "r") == NULL);
    adafed_bytes_free(before);
    adafed_bytes_free(after);
    adafed_participant_free(participant);
    adafed_config_free(config);
}

static void a_participant_without_a_server_waits(const char *folder) {
    int requests = 0, events = 0, lines = 0;
    uint32_t said = ADAFED_VERDICT_GO;
    adafed_participant *p = NULL, *second = NULL;
    adafed_config *config = whole_config(under(folder, "alone"), unreachable, &requests);
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_events(config, count_event, &events, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_log(config, count_line, &lines, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_conditions(config, verdict, &said, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_new(config, NULL, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &p, &error));
    EXPECT(ADAFED_STATUS_STORE_LOCKED, adafed_participant_new(config, &second, &error));
    adafed_config_free(config);

    adafed_progress progress;
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_tick(p, NULL, &error));
    CHECK(requests == 0);
    EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(p, &progress, &error));
    CHECK(progress.activity == ADAFED_ACTIVITY_DELAYED && progress.next == ADAFED_NEXT_WAIT);
    CHECK(requests == 1 && events == 1 && lines == 1);
    CHECK(adafed_participant_tick(p, &progress, NULL) == ADAFED_STATUS_OK);
    const uint32_t refusals[] = {ADAFED_VERDICT_PAUSE, ADAFED_VERDICT_STOP, 99};
    for (size_t i = 0; i < 3; i++) {
        said = refusals[i];
        EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(p, &progress, &error));
        CHECK(progress.activity == ADAFED_ACTIVITY_PAUSED && requests == 2);
    }
    said = ADAFED_VERDICT_STOP;
    EXPECT(ADAFED_STATUS_OK, adafed_participant_run(p, &error));

    adafed_budget budget;
    adafed_offer offer;
    adafed_bytes *bytes = NULL;
    adafed_model *model = NULL;
    EXPECT(ADAFED_STATUS_OK, adafed_participant_budget(p, &budget, &error));
    CHECK(budget.spent == 0.0 && budget.cap == 8.0 && budget.left == 8.0);
    EXPECT(ADAFED_STATUS_UNREACHABLE, adafed_participant_offer(p, &offer, &error));
    EXPECT(ADAFED_STATUS_NOT_AVAILABLE, adafed_participant_save(p, &bytes, &error));
    EXPECT(ADAFED_STATUS_NOT_AVAILABLE, adafed_participant_model(p, &model, &error));
    CHECK(bytes == NULL && model == NULL);
    EXPECT(ADAFED_STATUS_INVALID_MESSAGE, adafed_participant_restore(p, NULL, 0, &error));
    EXPECT(ADAFED_STATUS_INVALID_MESSAGE,
           adafed_participant_restore(p, (const uint8_t *)"nonsense", 8, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_restore(p, NULL, 8, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_offer(p, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_budget(p, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_save(p, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_model(p, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_device(p, NULL, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_participant_report(p, NULL, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_report(p, &bytes, &error));
    CHECK(strstr((const char *)adafed_bytes_data(bytes), "\"ledger_head\"") != NULL);
    adafed_bytes_free(bytes);
    adafed_participant_free(p);
}

static void servers_that_misbehave_are_statuses(const char *folder) {
    const uint16_t answers[] = {200, 401, 503};
    adafed_progress progress;
    for (size_t i = 0; i < 3; i++) {
        uint16_t answer = answers[i];
        adafed_participant *p = NULL;
        adafed_offer offer;
        adafed_config *config = whole_config(under(folder, "refused"), refusing, &answer);
        EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &p, &error));
        if (answer == 401) {
            EXPECT(ADAFED_STATUS_SERVER_REFUSED, adafed_participant_tick(p, &progress, &error));
        } else if (answer == 503) {
            EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(p, &progress, &error));
            CHECK(progress.activity == ADAFED_ACTIVITY_DELAYED);
        } else {
            /* Whatever the body says, 200 is an enrolment; no plan is made of it. */
            EXPECT(ADAFED_STATUS_INVALID_MESSAGE, adafed_participant_offer(p, &offer, &error));
            EXPECT(ADAFED_STATUS_INVALID_MESSAGE, adafed_participant_tick(p, &progress, &error));
            remove(under(folder, "refused/enrolled"));
        }
        adafed_participant_free(p);
        adafed_config_free(config);
    }
    adafed_participant *p = NULL;
    adafed_config *config = whole_config(under(folder, "silent"), silent, NULL);
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &p, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(p, &progress, &error));
    CHECK(progress.activity == ADAFED_ACTIVITY_DELAYED);
    adafed_participant_free(p);
    adafed_config_free(config);
}

static adafed_participant *reentered = NULL;

/* Breaks the rule that a callback does not use its participant. */
static int32_t reentering(void *userdata, const adafed_request *request, adafed_response *response) {
    (void)userdata, (void)request, (void)response;
    adafed_progress progress;
    EXPECT(ADAFED_STATUS_IN_USE, adafed_participant_tick(reentered, &progress, &error));
    EXPECT(ADAFED_STATUS_IN_USE, adafed_participant_run(reentered, &error));
    return 1;
}

static void a_callback_that_calls_back_is_refused(const char *folder) {
    adafed_progress progress;
    adafed_config *config = whole_config(under(folder, "again"), reentering, NULL);
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &reentered, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(reentered, &progress, &error));
    adafed_participant_free(reentered);
    adafed_config_free(config);
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    null_is_nothing();
    null_objects_are_refused();
    wrong_settings_are_refused();
    wrong_examples_are_refused();
    what_is_missing_is_named(arguments[1]);
    key_stores_that_fail_stop_the_start(arguments[1]);
    a_key_in_the_folder_moves_to_the_key_store(arguments[1]);
    a_participant_without_a_server_waits(arguments[1]);
    servers_that_misbehave_are_statuses(arguments[1]);
    a_callback_that_calls_back_is_refused(arguments[1]);
    puts("boundary: all as expected");
    return 0;
}
