/* Two participants in one process: one runs on a thread of its own; the other's examples
 * cannot be read at first. Both come to the same model.
 *
 *     pair SERVER FOLDER FOLDER TOKEN */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "live.h"

#define EXAMPLES 300
#define CLASSES 10

/* Whether examples can be read now. */
static int32_t read_unless_broken(void *userdata, size_t index, float *input, size_t input_len,
                                  float *target, size_t target_len) {
    const atomic_bool *broken = userdata;
    return *broken ? -5 : read_example(NULL, index, input, input_len, target, target_len);
}

static void count_event(void *userdata, const adafed_event *event) {
    atomic_int *counts = userdata;
    atomic_fetch_add(&counts[event->activity == ADAFED_ACTIVITY_FAILED], 1);
}

static void *run(void *participant) {
    EXPECT(ADAFED_STATUS_OK, adafed_participant_run(participant, &error));
    return NULL;
}

/* While another thread is in `run`: nothing is done, and outputs are left alone. */
static void others_are_turned_away(adafed_participant *busy) {
    adafed_progress progress;
    adafed_budget budget;
    memset(&progress, 0x55, sizeof progress);
    const adafed_progress before = progress;
    EXPECT(ADAFED_STATUS_IN_USE, adafed_participant_tick(busy, &progress, &error));
    EXPECT(ADAFED_STATUS_IN_USE, adafed_participant_run(busy, &error));
    EXPECT(ADAFED_STATUS_IN_USE, adafed_participant_budget(busy, &budget, &error));
    CHECK(memcmp(&progress, &before, sizeof progress) == 0);
}

/* A step whose examples cannot be read is a failure of the callback, and charges once. */
static void failing_examples_are_a_status(adafed_participant *participant, atomic_bool *broken) {
    adafed_progress progress;
    adafed_budget budget;
    tick_until(participant, ADAFED_ACTIVITY_JOINED);
    *broken = true;
    double spent = 0.0;
    for (int i = 0; i < 3; i++) {
        EXPECT(ADAFED_STATUS_CALLBACK_FAILED, adafed_participant_tick(participant, &progress, &error));
        EXPECT(ADAFED_STATUS_OK, adafed_participant_budget(participant, &budget, &error));
        CHECK(i == 0 || budget.spent == spent);
        spent = budget.spent;
    }
    *broken = false;
    EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(participant, &progress, &error));
    CHECK(progress.activity == ADAFED_ACTIVITY_TRAINED && progress.steps == 1);
}

/* Comes back to a round in progress with examples of another shape: refused, before the
 * callback is given buffers of a length that it does not expect. */
static adafed_participant *come_back(adafed_participant *participant, char **arguments,
                                     atomic_int *counts) {
    const size_t larger[3] = {1, 64, 64};
    adafed_progress progress;
    for (int fits = 0; fits < 2; fits++) {
        adafed_participant_free(participant);
        adafed_config *config = live_config(arguments[1], arguments[2], arguments[4]);
        set_examples(config, EXAMPLES, read_example, NULL);
        if (!fits) {
            EXPECT(ADAFED_STATUS_OK,
                   adafed_config_set_example_callback(config, larger, 3, EXAMPLES, CLASSES, 1,
                                                      read_example, NULL, &error));
        }
        EXPECT(ADAFED_STATUS_OK, adafed_config_set_events(config, count_event, counts, &error));
        participant = start(config);
        if (!fits) {
            EXPECT(ADAFED_STATUS_EXAMPLES_DO_NOT_FIT,
                   adafed_participant_tick(participant, &progress, &error));
        }
    }
    return participant;
}

static void predict(adafed_participant *participant, float outputs[CLASSES]) {
    float input[28 * 28], target;
    adafed_model *model = NULL;
    CHECK(read_example(NULL, 3, input, 28 * 28, &target, 1) == 0);
    EXPECT(ADAFED_STATUS_OK, adafed_participant_model(participant, &model, &error));
    adafed_participant_free(participant);
    /* A model outlives its participant. */
    EXPECT(ADAFED_STATUS_WRONG_LENGTH,
           adafed_model_predict(model, input, 28 * 28 - 1, outputs, CLASSES, &error));
    EXPECT(ADAFED_STATUS_WRONG_LENGTH,
           adafed_model_predict(model, input, 28 * 28, outputs, CLASSES - 1, &error));
    EXPECT(ADAFED_STATUS_INVALID_MODEL, adafed_model_save(model, "/no/such/folder", &error));
    EXPECT(ADAFED_STATUS_OK, adafed_model_predict(model, NULL, 0, NULL, 0, &error));
    EXPECT(ADAFED_STATUS_OK,
           adafed_model_predict(model, input, 28 * 28, outputs, CLASSES, &error));
    adafed_model_free(model);
}

int main(int count, char **arguments) {
    CHECK(count == 5);
    atomic_bool broken = false, never = false;
    atomic_int counts[2] = {0}, others[2] = {0};
    adafed_config *first = live_config(arguments[1], arguments[2], arguments[4]);
    set_examples(first, EXAMPLES, read_unless_broken, &broken);
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_events(first, count_event, counts, &error));
    adafed_config *second = live_config(arguments[1], arguments[3], arguments[4]);
    set_examples(second, EXAMPLES, read_unless_broken, &never);
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_events(second, count_event, others, &error));
    adafed_participant *mine = start(first), *running = start(second);

    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, running) == 0);
    while (others[0] == 0) {
        sleep_ms(1);
    }
    /* It waits for a cohort of two. */
    others_are_turned_away(running);
    failing_examples_are_a_status(mine, &broken);
    mine = come_back(mine, arguments, counts);
    tick_until(mine, ADAFED_ACTIVITY_FINISHED);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(counts[1] == 4 && others[1] == 0);

    float outputs[2][CLASSES];
    predict(mine, outputs[0]);
    predict(running, outputs[1]);
    CHECK(memcmp(outputs[0], outputs[1], sizeof outputs[0]) == 0);
    puts("pair: all as expected");
    return 0;
}
