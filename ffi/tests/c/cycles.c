/* Makes, ticks and frees participants, and says how much memory that took.
 *
 *     cycles FOLDER COUNT */
#include <unistd.h>

#include "check.h"

static int32_t unreachable(void *userdata, const adafed_request *request, adafed_response *response) {
    (void)userdata, (void)request, (void)response;
    return 1;
}

static long resident_kib(void) {
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld %ld", &pages, &resident) == 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void cycle(const char *folder) {
    adafed_progress progress;
    adafed_participant *participant = NULL;
    adafed_config *config = whole_config(folder, unreachable, NULL);
    EXPECT(ADAFED_STATUS_OK, adafed_participant_new(config, &participant, &error));
    EXPECT(ADAFED_STATUS_OK, adafed_participant_tick(participant, &progress, &error));
    adafed_participant_free(participant);
    adafed_config_free(config);
}

int main(int count, char **arguments) {
    CHECK(count == 3);
    long cycles = strtol(arguments[2], NULL, 10), warm = cycles / 10;
    for (long i = 0; i < warm; i++) {
        cycle(arguments[1]);
    }
    long before = resident_kib();
    for (long i = warm; i < cycles; i++) {
        cycle(arguments[1]);
    }
    long after = resident_kib();
    printf("cycles: %ld KiB after %ld, %ld KiB after %ld\n", before, warm, after, cycles);
    /* A page here and there is the allocator's; a leak of 64 bytes a cycle would be seen. */
    CHECK(after - before < 512);
    return 0;
}
