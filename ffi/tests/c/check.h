/* Expectations that end the program with their place. */
#ifndef CHECK_H
#define CHECK_H

#include <adafed.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);      \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

/* The call gives this status and, where that is a failure, an error that agrees with it;
 * on success the error is untouched. `call` names `error` as its last argument. */
#define EXPECT(expected, call)                                                            \
    do {                                                                                  \
        adafed_error *error = NULL;                                                       \
        adafed_status found = (call);                                                     \
        if (found != (expected)) {                                                        \
            fprintf(stderr, "%s:%d: %u (%s), expected %s from %s\n", __FILE__, __LINE__,  \
                    (unsigned)found, adafed_error_message(error), #expected, #call);      \
            exit(1);                                                                      \
        }                                                                                 \
        CHECK((error == NULL) == (found == ADAFED_STATUS_OK));                            \
        CHECK(error == NULL || adafed_error_status(error) == found);                      \
        CHECK(error == NULL || adafed_error_code(error)[0] != '\0');                      \
        CHECK(error == NULL || adafed_error_message(error)[0] != '\0');                   \
        adafed_error_free(error);                                                         \
    } while (0)

/* A configuration that lacks nothing, over `transport`; without one, it lacks a server. */
static inline adafed_config *whole_config(const char *folder, adafed_transport_callback transport,
                                          void *userdata) {
    static const size_t shape[2] = {1, 2};
    static const float inputs[4] = {0.0f, 1.0f, 2.0f, 3.0f};
    static const uint32_t labels[2] = {0, 1};
    adafed_config *config = NULL;
    EXPECT(ADAFED_STATUS_OK, adafed_config_new("test", &config, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_folder(config, folder, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_policy(config, 8.0, 1e-5, &error));
    if (transport != NULL) {
        EXPECT(ADAFED_STATUS_OK, adafed_config_set_transport(config, transport, userdata, &error));
    }
    EXPECT(ADAFED_STATUS_OK,
           adafed_config_set_examples(config, shape, 2, inputs, 4, labels, 2, 2, &error));
    return config;
}

#endif
