/* Takes part in one round of a convolutional network with examples by callback, calls a step
 * off in its middle, and says how long that took to be heard and how much memory the round
 * took above what the process had before.
 *
 *     round SERVER FOLDER TOKEN */
#define _POSIX_C_SOURCE 200809L

#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#include "check.h"

#define EXAMPLES 6000
/* How far into its step the host changes its mind, in questions: some micro-batches. */
#define QUESTIONS 5

struct host {
    atomic_int questions;
    int stop_after;
    double stopped_ms;
};

static double now_ms(void) {
    struct timespec time;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &time) == 0);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static long peak_kib(void) {
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return usage.ru_maxrss;
}

static int32_t read_example(void *userdata, size_t index, float *input, size_t input_len,
                            float *target, size_t target_len) {
    (void)userdata;
    CHECK(index < EXAMPLES && input_len == 28 * 28 && target_len == 1);
    for (size_t i = 0; i < input_len; i++) {
        input[i] = (float)((index * 31 + i * 7) % 17) / 17.0f;
    }
    *target = (float)(index % 10);
    return 0;
}

static uint32_t conditions(void *userdata) {
    struct host *host = userdata;
    if (host->stop_after == 0 || atomic_fetch_add(&host->questions, 1) < host->stop_after) {
        return ADAFED_VERDICT_GO;
    }
    if (host->stopped_ms == 0.0) {
        host->stopped_ms = now_ms();
    }
    return ADAFED_VERDICT_STOP;
}

static adafed_participant *make(char **arguments, struct host *host) {
    const size_t shape[3] = {1, 28, 28};
    adafed_config *c = NULL;
    adafed_participant *participant = NULL;
    EXPECT(ADAFED_STATUS_OK, adafed_config_new("test", &c, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_server(c, arguments[1], &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_folder(c, arguments[2], &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_token(c, arguments[3], &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_policy(c, 20.0, 1e-5, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_threads(c, 2, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_conditions(c, conditions, host, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_example_callback(c, shape, 3, EXAMPLES, 10, 1,
                                                                read_example, NULL, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(c, &participant, &error));
    adafed_config_free(c);
    return participant;
}

static void tick_until(adafed_participant *participant, adafed_activity activity) {
    adafed_progress progress = {0};
    while (progress.activity != activity) {
        EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(participant, &progress, &error));
        struct timespec wait = {0, progress.next == ADAFED_NEXT_WAIT ? 5000000L : 0L};
        nanosleep(&wait, NULL);
    }
}

int main(int count, char **arguments) {
    struct host host = {0};
    adafed_progress progress;
    CHECK(count == 4);
    long before_kib = peak_kib();
    adafed_participant *participant = make(arguments, &host);
    tick_until(participant, ADAFED_ACTIVITY_TRAINED);
    host.stop_after = QUESTIONS;
    EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(participant, &progress, &error));
    double heard_ms = now_ms() - host.stopped_ms;
    CHECK(progress.activity == ADAFED_ACTIVITY_PAUSED && host.stopped_ms > 0.0);
    host.stop_after = 0;
    tick_until(participant, ADAFED_ACTIVITY_UPLOADED);
    adafed_participant_free(participant);
    printf("%.1f ms to be heard, %ld KiB for the round\n", heard_ms, peak_kib() - before_kib);
    return 0;
}
