/* Callbacks that fail, lie, or count. */
#ifndef CALLBACKS_H
#define CALLBACKS_H

#include <string.h>

#include "check.h"

/* A server that is never reached. */
static int32_t unreachable(void *userdata, const adafed_request *request, adafed_response *response) {
    (void)response;
    CHECK(request->method != NULL && request->path[0] == '/' && request->header_count > 0);
    CHECK(request->headers[0].name[0] != '\0' && request->headers[0].value[0] != '\0');
    if (userdata != NULL) {
        *(int *)userdata += 1;
    }
    return 1;
}

/* A server that answers with a problem, or with nonsense. */
static int32_t refusing(void *userdata, const adafed_request *request, adafed_response *response) {
    (void)request;
    const char *body = "{\"type\": \"urn:adafed:problem:device/unknown\", \"detail\": \"go away\"}";
    const uint8_t *bytes = (const uint8_t *)body;
    EXPECT(ADAFED_STATUS_INVALID_VALUE, adafed_response_set(response, 99, bytes, 1, &error));
    EXPECT(ADAFED_STATUS_NULL_POINTER, adafed_response_set(response, 200, NULL, 1, &error));
    EXPECT(ADAFED_STATUS_OK,
           adafed_response_set(response, *(uint16_t *)userdata, bytes, strlen(body), &error));
    return 0;
}

/* Says that it has an answer and gives none. */
static int32_t silent(void *userdata, const adafed_request *request, adafed_response *response) {
    (void)userdata, (void)request, (void)response;
    return 0;
}

static int32_t no_example(void *userdata, size_t index, float *input, size_t input_len,
                          float *target, size_t target_len) {
    (void)userdata, (void)index, (void)input, (void)input_len, (void)target, (void)target_len;
    return -1;
}

static int32_t load_fails(void *userdata, uint8_t *key, size_t capacity, size_t *len) {
    (void)userdata, (void)key, (void)capacity, (void)len;
    return 1;
}

static int32_t load_lies(void *userdata, uint8_t *key, size_t capacity, size_t *len) {
    (void)userdata, (void)key;
    *len = capacity + 1;
    return 0;
}

struct key {
    uint8_t bytes[ADAFED_KEY_CAPACITY];
    size_t len;
};

static int32_t load_key(void *userdata, uint8_t *key, size_t capacity, size_t *len) {
    const struct key *kept = userdata;
    CHECK(capacity == ADAFED_KEY_CAPACITY);
    memcpy(key, kept->bytes, kept->len);
    *len = kept->len;
    return 0;
}

static int32_t save_key(void *userdata, const uint8_t *key, size_t len) {
    struct key *kept = userdata;
    CHECK(len <= sizeof kept->bytes);
    memcpy(kept->bytes, key, len);
    kept->len = len;
    return 0;
}

static int32_t save_fails(void *userdata, const uint8_t *key, size_t len) {
    (void)userdata, (void)key, (void)len;
    return 1;
}

static uint32_t verdict(void *userdata) {
    return *(uint32_t *)userdata;
}

static void count_event(void *userdata, const adafed_event *event) {
    CHECK(event->code != NULL && event->message != NULL);
    *(int *)userdata += 1;
}

static void count_line(void *userdata, uint32_t level, const char *line) {
    CHECK(level >= ADAFED_LOG_LEVEL_ERROR && level <= ADAFED_LOG_LEVEL_INFO && line[0] != '\0');
    *(int *)userdata += 1;
}

#endif
