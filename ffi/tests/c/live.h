/* A device against a server that is there, with examples of the size of MNIST's by callback. */
#ifndef LIVE_H
#define LIVE_H

#include <stdint.h>
#include <time.h>

#include "check.h"

/* As if read from a file: classes that differ, and always the same for an index. */
static inline int32_t read_example(void *userdata, size_t index, float *input, size_t input_len,
                                   float *target, size_t target_len) {
    (void)userdata;
    CHECK(input_len == 28 * 28 && target_len == 1);
    for (size_t i = 0; i < input_len; i++) {
        input[i] = (float)((index * 31 + i * 7) % 17) / 17.0f;
    }
    *target = (float)(index % 10);
    return 0;
}

/* A configuration for the task `test` that lacks its examples only. */
static inline adafed_config *live_config(const char *server, const char *folder, const char *token) {
    adafed_config *config = NULL;
    EXPECT(ADAFED_STATUS_OK, adafed_config_new("test", &config, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_server(config, server, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_folder(config, folder, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_token(config, token, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_policy(config, 20.0, 1e-5, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_threads(config, 2, &error));
    return config;
}

static inline void set_examples(adafed_config *config, size_t count, adafed_example_callback read,
                                void *userdata) {
    const size_t shape[3] = {1, 28, 28};
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_example_callback(config, shape, 3, count, 10, 1, read,
                                                                userdata, &error));
}

/* Makes a participant; its configuration has served then. */
static inline adafed_participant *start(adafed_config *config) {
    adafed_participant *participant = NULL;
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &participant, &error));
    adafed_config_free(config);
    return participant;
}

static inline void sleep_ms(long milliseconds) {
    const struct timespec time = {0, milliseconds * 1000000L};
    nanosleep(&time, NULL);
}

static inline void tick_until(adafed_participant *participant, adafed_activity activity) {
    adafed_progress progress = {0};
    while (progress.activity != activity) {
        EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(participant, &progress, &error));
        sleep_ms(progress.next == ADAFED_NEXT_WAIT ? 5 : 0);
    }
}

#endif
