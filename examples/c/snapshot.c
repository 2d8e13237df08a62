#define _POSIX_C_SOURCE 200809L

#include "snapshot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writes a file for its owner alone; a reader finds the old one or the whole new one. */
static int write_file(const char *path, const uint8_t *data, size_t len) {
    char temporary[4096];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (length < 0 || (size_t)length >= sizeof temporary) {
        return -1;
    }
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (descriptor < 0) {
        return -1;
    }
    size_t done = 0;
    while (done < len) {
        ssize_t written = write(descriptor, data + done, len - done);
        if (written <= 0) {
            break;
        }
        done += (size_t)written;
    }
    int whole = done == len && fsync(descriptor) == 0;
    whole = close(descriptor) == 0 && whole;
    return whole ? rename(temporary, path) : -1;
}

adafed_status snapshot_keep(adafed_participant *participant, const char *path, adafed_error **error) {
    adafed_bytes *saved = NULL;
    adafed_status status = adafed_participant_save(participant, &saved, error);
    if (status == ADAFED_STATUS_OK &&
        write_file(path, adafed_bytes_data(saved), adafed_bytes_len(saved)) != 0) {
        perror(path);
    }
    adafed_bytes_free(saved);
    return status;
}

void snapshot_restore(adafed_participant *participant, const char *path) {
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return;
    }
    adafed_error *error = NULL;
    size_t len = fstat(fileno(file), &info) == 0 ? (size_t)info.st_size : 0;
    uint8_t *data = malloc(len + 1);
    if (data != NULL && fread(data, 1, len, file) == len) {
        if (adafed_participant_restore(participant, data, len, &error) == ADAFED_STATUS_OK) {
            printf("restored %zu bytes\n", len);
        } else {
            /* Of another device, or of a folder that is lost: it is of no use any more. */
            fprintf(stderr, "%s is left out: %s\n", path, adafed_error_message(error));
            remove(path);
        }
    }
    adafed_error_free(error);
    free(data);
    fclose(file);
}
