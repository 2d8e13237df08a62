/* Reads examples from the IDX files in which MNIST comes (uncompressed). */
#ifndef IDX_H
#define IDX_H

#include <stddef.h>
#include <stdint.h>

struct examples {
    size_t count;
    size_t rows;
    size_t columns;
    float *inputs;    /* [count, 1, rows, columns] */
    uint32_t *labels; /* [count] */
};

/* Returns 0, or -1 after saying on stderr what is wrong; `examples` can be freed either way. */
int examples_read(const char *images, const char *labels, struct examples *examples);
void examples_free(struct examples *examples);

#endif
