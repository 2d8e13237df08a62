#include "idx.h"

#include <stdio.h>
#include <stdlib.h>

/* Magic numbers: unsigned bytes, in three dimensions and in one. */
#define MAGIC_IMAGES 0x803u
#define MAGIC_LABELS 0x801u
/* More than any set that this program is meant for. */
#define MOST (1u << 24)

static int read_number(FILE *file, uint32_t *number) {
    uint8_t bytes[4];
    if (fread(bytes, 1, sizeof bytes, file) != sizeof bytes) {
        return -1;
    }
    *number = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    return 0;
}

/* Opens a file and reads its dimensions. */
static FILE *open_idx(const char *path, uint32_t magic, uint32_t *sizes, int dimensions) {
    FILE *file = fopen(path, "rb");
    uint32_t found = 0;
    if (file == NULL) {
        perror(path);
        return NULL;
    }
    int whole = read_number(file, &found) == 0 && found == magic;
    for (int i = 0; whole && i < dimensions; i++) {
        whole = read_number(file, &sizes[i]) == 0 && sizes[i] <= MOST;
    }
    if (!whole) {
        fprintf(stderr, "%s: not an IDX file of the kind that is expected\n", path);
        fclose(file);
        return NULL;
    }
    return file;
}

/* The public rule by which all devices of a task scale their pixels; never one that is
 * computed from the examples themselves. */
static float scale_pixel(uint8_t byte) {
    return ((float)byte / 255.0f - 0.1f) / 0.3f;
}

static int read_images(const char *path, struct examples *examples) {
    uint32_t sizes[3] = {0};
    FILE *file = open_idx(path, MAGIC_IMAGES, sizes, 3);
    if (file == NULL) {
        return -1;
    }
    size_t count = sizes[0], pixels = (size_t)sizes[1] * sizes[2], done = 0;
    uint8_t *row = malloc(pixels + 1);
    examples->inputs = malloc((count * pixels + 1) * sizeof *examples->inputs);
    while (row != NULL && examples->inputs != NULL && done < count &&
           fread(row, 1, pixels, file) == pixels) {
        for (size_t i = 0; i < pixels; i++) {
            examples->inputs[done * pixels + i] = scale_pixel(row[i]);
        }
        done++;
    }
    free(row);
    fclose(file);
    examples->count = count;
    examples->rows = sizes[1];
    examples->columns = sizes[2];
    return done == count ? 0 : -1;
}

static int read_labels(const char *path, struct examples *examples) {
    uint32_t count = 0;
    FILE *file = open_idx(path, MAGIC_LABELS, &count, 1);
    if (file == NULL) {
        return -1;
    }
    size_t done = 0;
    examples->labels = malloc(((size_t)count + 1) * sizeof *examples->labels);
    for (int byte; examples->labels != NULL && done < count && (byte = fgetc(file)) != EOF; done++) {
        examples->labels[done] = (uint32_t)byte;
    }
    fclose(file);
    return done == count && count == examples->count ? 0 : -1;
}

int examples_read(const char *images, const char *labels, struct examples *examples) {
    *examples = (struct examples){0};
    if (read_images(images, examples) != 0 || read_labels(labels, examples) != 0) {
        fprintf(stderr, "%s and %s: cannot be read whole\n", images, labels);
        return -1;
    }
    return 0;
}

void examples_free(struct examples *examples) {
    free(examples->inputs);
    free(examples->labels);
    *examples = (struct examples){0};
}
