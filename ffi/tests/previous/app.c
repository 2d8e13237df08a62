/* An app that was compiled with the header beside it, and must run with the library of today.
 * Never changed with the library: replaced by a newer header's app when one is published.
 *
 *     app FOLDER */
#include <adafed.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

struct seen {
    unsigned requests, events, lines, questions;
    adafed_activity last;
};

/* Refuses every request, with a reason. */
static int32_t answer(void *userdata, const adafed_request *request, adafed_response *response) {
    static const char body[] = "{\"type\": \"urn:adafed:problem:device/unknown\", \"detail\": \"no\"}";
    ((struct seen *)userdata)->requests++;
    CHECK(request->path[0] == '/' && request->header_count > 0 && request->body_len > 0);
    return adafed_response_set(response, 401, (const uint8_t *)body, sizeof body - 1, NULL) !=
           ADAFED_STATUS_OK;
}

static void on_event(void *userdata, const adafed_event *event) {
    struct seen *seen = userdata;
    seen->events++;
    seen->last = event->activity;
    CHECK(strcmp(event->code, "device/unknown") == 0 && event->message[0] != '\0');
}

static void on_line(void *userdata, uint32_t level, const char *line) {
    ((struct seen *)userdata)->lines++;
    CHECK(level == ADAFED_LOG_LEVEL_ERROR && line[0] != '\0');
}

static uint32_t may_work(void *userdata) {
    ((struct seen *)userdata)->questions++;
    return ADAFED_VERDICT_GO;
}

static adafed_participant *join(const char *folder, struct seen *seen) {
    const size_t shape[1] = {2};
    const float inputs[4] = {0.0f, 1.0f, 2.0f, 3.0f};
    const uint32_t labels[2] = {0, 1};
    adafed_config *c = NULL;
    adafed_participant *participant = NULL;
    CHECK(adafed_config_new("test", &c, NULL) == ADAFED_STATUS_OK);
    CHECK(adafed_config_set_folder(c, folder, NULL) == ADAFED_STATUS_OK);
    CHECK(adafed_config_set_policy(c, 8.0, 1e-5, NULL) == ADAFED_STATUS_OK);
    CHECK(adafed_config_set_examples(c, shape, 1, inputs, 4, labels, 2, 2, NULL) == ADAFED_STATUS_OK);
    CHECK(adafed_config_set_transport(c, answer, seen, NULL) == ADAFED_STATUS_OK);
    CHECK(adafed_config_set_events(c, on_event, seen, NULL) == ADAFED_STATUS_OK);
    CHECK(adafed_config_set_log(c, on_line, seen, NULL) == ADAFED_STATUS_OK);
    CHECK(adafed_config_set_conditions(c, may_work, seen, NULL) == ADAFED_STATUS_OK);
    CHECK(adafed_participant_new(c, &participant, NULL) == ADAFED_STATUS_OK);
    adafed_config_free(c);
    return participant;
}

int main(int count, char **arguments) {
    struct seen seen = {0};
    adafed_error *error = NULL;
    adafed_bytes *report = NULL;
    adafed_progress progress;
    adafed_budget budget = {0};
    CHECK(count == 2);
    adafed_participant *participant = join(arguments[1], &seen);
    CHECK(adafed_participant_tick(participant, &progress, &error) == ADAFED_STATUS_SERVER_REFUSED);
    CHECK(adafed_error_status(error) == ADAFED_STATUS_SERVER_REFUSED);
    CHECK(strcmp(adafed_error_code(error), "device/unknown") == 0);
    adafed_error_free(error);
    CHECK(seen.requests == 1 && seen.events == 1 && seen.lines == 1 && seen.questions >= 1);
    CHECK(seen.last == ADAFED_ACTIVITY_FAILED);
    CHECK(adafed_participant_budget(participant, &budget, NULL) == ADAFED_STATUS_OK);
    CHECK(budget.spent == 0.0 && budget.cap == 8.0 && budget.left == 8.0 && budget.delta == 1e-5);
    CHECK(adafed_participant_report(participant, &report, NULL) == ADAFED_STATUS_OK);
    CHECK(adafed_bytes_len(report) == strlen((const char *)adafed_bytes_data(report)));
    adafed_bytes_free(report);
    adafed_participant_free(participant);
    puts("app: all as expected");
    return 0;
}
