/* Says how long it takes from the start of the process to the end of a first tick, in
 * milliseconds: of a new device, and again of one that is known; and the memory it takes. With
 * an address where no server is, by AdaFed's own HTTP; else by a callback that reaches nothing.
 *
 *     start FOLDER [ADDRESS] */
#define _POSIX_C_SOURCE 200809L

#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int32_t unreachable(void *userdata, const adafed_request *request, adafed_response *response) {
    (void)userdata, (void)request, (void)response;
    return 1;
}

static double now_ms(void) {
    struct timespec time;
    CHECK(clock_gettime(CLOCK_BOOTTIME, &time) == 0);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

/* When the process started, by the kernel's own record of it: loading the library counts. */
static double started_ms(void) {
    char text[1024] = "";
    unsigned long long ticks = 0;
    FILE *file = fopen("/proc/self/stat", "r");
    CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
    fclose(file);
    char *field = strrchr(text, ')');
    for (int i = 0; field != NULL && i < 20; i++) {
        field = strchr(field + 1, ' ');
    }
    CHECK(field != NULL && sscanf(field, "%llu", &ticks) == 1);
    return 1e3 * (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void first_tick(const char *folder, const char *address) {
    adafed_progress progress;
    adafed_participant *participant = NULL;
    adafed_config *config = whole_config(folder, address == NULL ? unreachable : NULL, NULL);
    if (address != NULL) {
        EXPECT(ADAFED_STATUS_OK, adafed_config_set_server(config, address, &error));
    }
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(participant, &progress, &error));
    adafed_participant_free(participant);
    adafed_config_free(config);
}

int main(int count, char **arguments) {
    struct rusage usage;
    CHECK(count == 2 || count == 3);
    const char *address = count == 3 ? arguments[2] : NULL;
    first_tick(arguments[1], address);
    double once = now_ms();
    first_tick(arguments[1], address);
    double twice = now_ms();
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    /* The kernel counts a start in hundredths of a second. */
    printf("%.0f %.1f %ld\n", once - started_ms(), twice - once, usage.ru_maxrss);
    return 0;
}
