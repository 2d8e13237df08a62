/* Takes part in one round of a convolutional network with examples by callback, calls a step
 * off in its middle, and says how long that took to be heard and how much memory the round
 * took above what the process had before.
 *
 *     round SERVER FOLDER TOKEN */
#define _POSIX_C_SOURCE 200809L

#include <stdatomic.h>
#include <sys/resource.h>

#include "live.h"

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

int main(int count, char **arguments) {
    struct host host = {0};
    adafed_progress progress;
    CHECK(count == 4);
    long before_kib = peak_kib();
    adafed_config *config = live_config(arguments[1], arguments[2], arguments[3]);
    set_examples(config, EXAMPLES, read_example, NULL);
    EXPECT(ADAFED_STATUS_OK, adafed_config_set_conditions(config, conditions, &host, &error));
    adafed_participant *participant = start(config);
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
