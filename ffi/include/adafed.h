/*
 * AdaFed's C interface. Made from its source; do not edit.
 *
 * Objects. adafed_<type>_new makes one and adafed_<type>_free frees it; freeing NULL is
 * nothing; using a freed one is undefined. An object may be used from any thread, by one at a
 * time; a participant sees to that itself, and says ADAFED_STATUS_IN_USE. Participants share
 * nothing: there may be several, each with a folder, and so a ledger and a budget, of its own.
 * Two of them must not have the same examples, or those are paid for twice.
 *
 * Calls. Inputs come first and are lent for the call: text ends with a zero and is UTF-8,
 * buffers have the length that goes with them and may be NULL where it is 0; nothing that is
 * lent may overlap an output. Outputs come
 * last and are written only with ADAFED_STATUS_OK. `error` may be NULL; where it is not, a
 * failure puts an object there that the caller frees, and success leaves it alone.
 *
 * Callbacks. `userdata` is handed back as it was given; it and the callback must live as long
 * as the configuration and every participant made with it. Callbacks of one configuration run
 * one at a time, but not always on the same thread: which one is said with each. They must
 * return: no exception, no longjmp. They must not use the participant that calls them, nor
 * another one of the same configuration.
 */


#ifndef ADAFED_H
#define ADAFED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/** Version of this header; `adafed_version` gives the library's. */
#define ADAFED_VERSION "0.1.0"
#define ADAFED_VERSION_MAJOR 0
#define ADAFED_VERSION_MINOR 1
#define ADAFED_VERSION_PATCH 0

/**
 * Bytes that a device's key takes at most.
 */
#define ADAFED_KEY_CAPACITY 256

/**
 * What a call came to. Blocks of a hundred say who is to blame; a number is never used again
 * for something else, so that an unknown one can be judged by its block.
 */
enum adafed_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Done; outputs are written. After any other status they are untouched.
     */
    ADAFED_STATUS_OK = 0,
    /**
     * Caller: a pointer that must not be NULL is.
     */
    ADAFED_STATUS_NULL_POINTER = 1,
    /**
     * Caller: text is not UTF-8, or not of the form that is asked for.
     */
    ADAFED_STATUS_INVALID_TEXT = 2,
    /**
     * Caller: a number outside of its range.
     */
    ADAFED_STATUS_INVALID_VALUE = 3,
    /**
     * Caller: a buffer has not the length that is asked for.
     */
    ADAFED_STATUS_WRONG_LENGTH = 4,
    /**
     * Caller: the configuration lacks something that a participant needs.
     */
    ADAFED_STATUS_MISSING = 5,
    /**
     * Caller: another call on this object has not returned yet. Nothing was done.
     */
    ADAFED_STATUS_IN_USE = 6,
    /**
     * There is nothing to give yet: no model, no round in progress.
     */
    ADAFED_STATUS_NOT_AVAILABLE = 7,
    /**
     * This build of the library has not the feature that is asked for.
     */
    ADAFED_STATUS_UNSUPPORTED = 8,
    /**
     * Examples: they cannot be read, or are not what they are said to be.
     */
    ADAFED_STATUS_INVALID_EXAMPLES = 100,
    /**
     * Examples: they do not fit the task's model.
     */
    ADAFED_STATUS_EXAMPLES_DO_NOT_FIT = 101,
    /**
     * Model: it cannot be built, run or written.
     */
    ADAFED_STATUS_INVALID_MODEL = 102,
    /**
     * Server: it refused.
     */
    ADAFED_STATUS_SERVER_REFUSED = 200,
    /**
     * Server: what it sent is not what it should be.
     */
    ADAFED_STATUS_INVALID_MESSAGE = 201,
    /**
     * Budget: the device's own policy refuses.
     */
    ADAFED_STATUS_REFUSED_BY_POLICY = 300,
    /**
     * Environment: the server cannot be reached.
     */
    ADAFED_STATUS_UNREACHABLE = 400,
    /**
     * Environment: the folder or the app's key store cannot be used.
     */
    ADAFED_STATUS_STORE_FAILED = 401,
    /**
     * Environment: another participant has the folder.
     */
    ADAFED_STATUS_STORE_LOCKED = 402,
    /**
     * Environment: the privacy ledger cannot be used; nothing is released without it.
     */
    ADAFED_STATUS_LEDGER_FAILED = 403,
    /**
     * Environment: the operating system gave no randomness.
     */
    ADAFED_STATUS_NO_RANDOMNESS = 404,
    /**
     * Environment: the system gave no threads.
     */
    ADAFED_STATUS_NO_THREADS = 405,
    /**
     * Callback: one of the app's callbacks failed, or gave a value that it may not.
     */
    ADAFED_STATUS_CALLBACK_FAILED = 500,
    /**
     * Bug: AdaFed failed within; what is on disk is whole.
     */
    ADAFED_STATUS_PANICKED = 900,
    /**
     * Bug: the object failed within before. Free it and make a new one.
     */
    ADAFED_STATUS_POISONED = 901,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum adafed_status adafed_status;
#else
typedef uint32_t adafed_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What happened. The numbers below 100 are what ticks do; the others are events only.
 */
enum adafed_activity
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Something that this version of the interface has no name for.
     */
    ADAFED_ACTIVITY_OTHER = 0,
    /**
     * The device is known to the server now.
     */
    ADAFED_ACTIVITY_ENROLLED = 1,
    /**
     * The server has nothing to do, or it is not yet time to ask.
     */
    ADAFED_ACTIVITY_WAITED = 2,
    /**
     * The device joined a round.
     */
    ADAFED_ACTIVITY_JOINED = 3,
    /**
     * One private step of local training.
     */
    ADAFED_ACTIVITY_TRAINED = 4,
    /**
     * The round's release is recorded in the ledger and ready to leave.
     */
    ADAFED_ACTIVITY_RELEASED = 5,
    /**
     * The server has the round's release.
     */
    ADAFED_ACTIVITY_UPLOADED = 6,
    /**
     * The server no longer takes the round's release. What was charged stays charged.
     */
    ADAFED_ACTIVITY_DROPPED = 7,
    /**
     * The server could not be reached or is busy.
     */
    ADAFED_ACTIVITY_DELAYED = 8,
    /**
     * The conditions callback said no; a step under way is repeated later.
     */
    ADAFED_ACTIVITY_PAUSED = 9,
    /**
     * The task has ended.
     */
    ADAFED_ACTIVITY_FINISHED = 10,
    /**
     * A piece of what the model's features take, before the round's first step.
     */
    ADAFED_ACTIVITY_PREPARED = 11,
    /**
     * Event only: the device's own policy refuses.
     */
    ADAFED_ACTIVITY_REFUSED = 100,
    /**
     * Event only: a tick failed in another way.
     */
    ADAFED_ACTIVITY_FAILED = 101,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum adafed_activity adafed_activity;
#else
typedef uint32_t adafed_activity;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * When to tick again.
 */
enum adafed_next
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * At once.
     */
    ADAFED_NEXT_NOW = 0,
    /**
     * After `wait_ms`.
     */
    ADAFED_NEXT_WAIT = 1,
    /**
     * Never: the task has ended.
     */
    ADAFED_NEXT_NEVER = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum adafed_next adafed_next;
#else
typedef uint32_t adafed_next;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What the app allows at this moment.
 */
enum adafed_verdict
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Work.
     */
    ADAFED_VERDICT_GO = 0,
    /**
     * Not now: power, network or the user's own work come first. Ask again later.
     */
    ADAFED_VERDICT_PAUSE = 1,
    /**
     * Not any more: `adafed_participant_run` returns.
     */
    ADAFED_VERDICT_STOP = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum adafed_verdict adafed_verdict;
#else
typedef uint32_t adafed_verdict;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How much a line matters.
 */
enum adafed_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * A call failed.
     */
    ADAFED_LOG_LEVEL_ERROR = 1,
    /**
     * Something did not go as it should, and is taken care of.
     */
    ADAFED_LOG_LEVEL_WARNING = 2,
    /**
     * What a participant did.
     */
    ADAFED_LOG_LEVEL_INFO = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum adafed_log_level adafed_log_level;
#else
typedef uint32_t adafed_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Bytes or text that the app owns. Text ends with a zero that its length does not count.
 */
typedef struct adafed_bytes adafed_bytes;

/**
 * What a participant is made from. It is read by `adafed_participant_new` and may be freed or
 * used again afterwards.
 */
typedef struct adafed_config adafed_config;

/**
 * The context of a status that is not `ADAFED_STATUS_OK`. A function that takes an
 * `adafed_error **` makes one there, to be freed by the caller; NULL stands for no interest.
 */
typedef struct adafed_error adafed_error;

/**
 * A model of the federation: public, made of releases alone. It does not change, and may be
 * used from several threads at once. It outlives the participant it came from.
 */
typedef struct adafed_model adafed_model;

/**
 * A device taking part in one task. Usable from any one thread at a time: a call that meets
 * another one under way does nothing and says `ADAFED_STATUS_IN_USE`, also from a callback.
 */
typedef struct adafed_participant adafed_participant;

/**
 * An answer being made; `adafed_response_set` fills it.
 */
typedef struct adafed_response adafed_response;

/**
 * Writes example `index` into `input`, which has as many values as the shape says, and its
 * target into `target`: a label as a whole number, or as many values as were announced.
 * Returns 0, or anything else where the example cannot be read. Called on AdaFed's threads
 * during `adafed_participant_tick` and `adafed_participant_run`. The same index must always
 * give the same example while a round lasts.
 */
typedef int32_t (*adafed_example_callback)(void *userdata,
                                           size_t index,
                                           float *input,
                                           size_t input_len,
                                           float *target,
                                           size_t target_len);

/**
 * Returns an `adafed_verdict`; any other number stands for a pause. Called at the start of
 * every tick and between micro-batches of training, also on AdaFed's threads, during
 * `adafed_participant_tick` and `adafed_participant_run`. It should answer at once.
 */
typedef uint32_t (*adafed_conditions_callback)(void *userdata);

/**
 * Something that happened. Both texts live as long as the event, and may be empty.
 */
typedef struct adafed_event {
    /**
     * What happened.
     */
    adafed_activity activity;
    /**
     * Steps done of the round's local training, after one.
     */
    uint32_t steps;
    /**
     * The round it is about; 0 where it is about none.
     */
    uint64_t round;
    /**
     * Stable identifier of a reason.
     */
    const char *code;
    /**
     * The reason, in English.
     */
    const char *message;
} adafed_event;

/**
 * Takes an event. Called on the thread that called into AdaFed, after every tick; the event
 * lives until it returns.
 */
typedef void (*adafed_event_callback)(void *userdata,
                                      const struct adafed_event *event);

/**
 * Takes a line without its end and without control characters. It holds names, counts and
 * codes, nothing of an example; an error's message is for the app alone.
 * Called on the thread that called into AdaFed; the line lives until it returns.
 */
typedef void (*adafed_log_callback)(void *userdata,
                                    uint32_t level,
                                    const char *line);

/**
 * Writes the key that was saved into `key`, which has room for `ADAFED_KEY_CAPACITY` bytes,
 * and its length into `len`; leaves `len` at 0 where there is none yet. Returns 0, or
 * anything else where the key store cannot be read: then no participant is made, lest it
 * make a new key. Called during `adafed_participant_new`, on its thread.
 */
typedef int32_t (*adafed_load_key_callback)(void *userdata,
                                            uint8_t *key,
                                            size_t capacity,
                                            size_t *len);

/**
 * Keeps the device's private key, durably. Returns 0, or anything else where it cannot.
 * Called during `adafed_participant_new`, on its thread, at a device's first start.
 */
typedef int32_t (*adafed_save_key_callback)(void *userdata,
                                            const uint8_t *key,
                                            size_t len);

/**
 * A header of a request. Both texts live as long as the request.
 */
typedef struct adafed_header {
    /**
     * Name, in lower case.
     */
    const char *name;
    /**
     * Value.
     */
    const char *value;
} adafed_header;

/**
 * A request to send. Everything in it lives until the callback returns.
 */
typedef struct adafed_request {
    /**
     * `GET`, `POST` or `PUT`.
     */
    const char *method;
    /**
     * Path, beginning with a slash; the server's address goes before it.
     */
    const char *path;
    /**
     * Headers to send as they are: they hold the signature.
     */
    const struct adafed_header *headers;
    /**
     * Number of headers.
     */
    size_t header_count;
    /**
     * Body, to be sent byte by byte: it is signed.
     */
    const uint8_t *body;
    /**
     * Bytes of the body.
     */
    size_t body_len;
} adafed_request;

/**
 * Sends a request, waits for the whole answer and gives it to `adafed_response_set`. Returns
 * 0, or anything else where no answer came, which is tried again later. An answer of any
 * HTTP status is an answer. Redirections must not be followed. Called on the thread that
 * called into AdaFed.
 */
typedef int32_t (*adafed_transport_callback)(void *userdata,
                                             const struct adafed_request *request,
                                             struct adafed_response *response);

/**
 * What a tick did and when to come again.
 */
typedef struct adafed_progress {
    /**
     * What happened.
     */
    adafed_activity activity;
    /**
     * When to tick again.
     */
    adafed_next next;
    /**
     * The round it is about; 0 where it is about none.
     */
    uint64_t round;
    /**
     * Milliseconds to wait before the next tick, where `next` says so.
     */
    uint64_t wait_ms;
    /**
     * Steps done of the round's local training, after one.
     */
    uint32_t steps;
} adafed_progress;

/**
 * What the server offers, and what it would cost.
 */
typedef struct adafed_offer {
    /**
     * Epsilon of taking part in every round.
     */
    double epsilon;
    /**
     * Delta at which it is stated.
     */
    double delta;
    /**
     * Smallest noise multiplier of any step.
     */
    double least_noise_multiplier;
    /**
     * Rounds of the task.
     */
    uint64_t rounds;
    /**
     * Parameters of the model.
     */
    uint64_t parameters;
    /**
     * Bytes that the last round's upload takes, about.
     */
    uint64_t upload_bytes;
    /**
     * Local steps of a round.
     */
    uint32_t local_steps;
    /**
     * `ADAFED_STATUS_OK`, or the status with which the device would refuse.
     */
    adafed_status verdict;
} adafed_offer;

/**
 * What the device has given of its privacy, at its policy's delta.
 */
typedef struct adafed_budget {
    /**
     * Epsilon of what was charged under this task.
     */
    double spent;
    /**
     * Epsilon of all that the tasks which the device agreed to may come to.
     */
    double committed;
    /**
     * The policy's cap.
     */
    double cap;
    /**
     * What is left of the cap for other tasks.
     */
    double left;
    /**
     * The policy's delta.
     */
    double delta;
} adafed_budget;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The first byte, and a zero after the last one. Lives as long as the object. NULL for NULL.
 */
const uint8_t *adafed_bytes_data(const struct adafed_bytes *bytes);

/**
 * Number of bytes; 0 for NULL.
 */
size_t adafed_bytes_len(const struct adafed_bytes *bytes);

/**
 * Frees bytes. NULL is nothing.
 */
void adafed_bytes_free(struct adafed_bytes *bytes);

/**
 * Says what the server answered; the body is copied. To be called by a transport callback,
 * once.
 */
adafed_status adafed_response_set(struct adafed_response *response,
                                  uint16_t http_status,
                                  const uint8_t *body,
                                  size_t body_len,
                                  struct adafed_error **error);

/**
 * Makes a configuration for taking part in `task`; to be freed by `adafed_config_free`.
 */
adafed_status adafed_config_new(const char *task,
                                struct adafed_config **config,
                                struct adafed_error **error);

/**
 * Frees a configuration. NULL is nothing.
 */
void adafed_config_free(struct adafed_config *config);

/**
 * Sets the server's address, such as `https://fleet.example`. Required, unless there is a
 * transport callback. `ADAFED_STATUS_UNSUPPORTED` where the library was built without HTTP.
 */
adafed_status adafed_config_set_server(struct adafed_config *config,
                                       const char *address,
                                       struct adafed_error **error);

/**
 * Sets the folder where key, ledger and the current round are kept; it is made if missing.
 * Required. One participant has one folder to itself. The policy's cap is kept by the ledger
 * in it, so the same examples have one folder, whatever the tasks: one after another. All in
 * it is as secret as the examples, and it does not belong in backups: a ledger that is put
 * back has forgotten charges.
 */
adafed_status adafed_config_set_folder(struct adafed_config *config,
                                       const char *folder,
                                       struct adafed_error **error);

/**
 * Sets the device's own limits, which hold whatever a server asks: the largest epsilon over
 * everything that is ever released through this folder, over all tasks, and the delta at which
 * it holds. Required. Replaces limits that were set before.
 */
adafed_status adafed_config_set_policy(struct adafed_config *config,
                                       double epsilon_cap,
                                       double delta,
                                       struct adafed_error **error);

/**
 * Sets the smallest noise multiplier that a task may have; 0.5 where it is not set. After
 * `adafed_config_set_policy`.
 */
adafed_status adafed_config_set_least_noise_multiplier(struct adafed_config *config,
                                                       double multiplier,
                                                       struct adafed_error **error);

/**
 * Sets the fewest examples with which the device takes part; 0 where it is not set. After
 * `adafed_config_set_policy`.
 */
adafed_status adafed_config_set_least_examples(struct adafed_config *config,
                                               uint64_t examples,
                                               struct adafed_error **error);

/**
 * Sets the server's enrolment token, which is needed the first time only.
 */
adafed_status adafed_config_set_token(struct adafed_config *config,
                                      const char *token,
                                      struct adafed_error **error);

/**
 * Sets on how many threads of its own the participant trains: at least 1; as many as the
 * machine has cores where it is not set. They begin with the first step of training and end
 * with the participant. Results do not depend on their number.
 */
adafed_status adafed_config_set_threads(struct adafed_config *config,
                                        size_t threads,
                                        struct adafed_error **error);

/**
 * Gives examples with one label each, as they are in memory: `count` inputs of the shape one
 * after the other, `count` labels below `classes`. They are copied. This, targets or an
 * example callback is required.
 */
adafed_status adafed_config_set_examples(struct adafed_config *config,
                                         const size_t *shape,
                                         size_t dimensions,
                                         const float *inputs,
                                         size_t inputs_len,
                                         const uint32_t *labels,
                                         size_t count,
                                         size_t classes,
                                         struct adafed_error **error);

/**
 * Gives examples whose targets have `target_len` numbers each, as they are in memory. They
 * are copied.
 */
adafed_status adafed_config_set_examples_with_targets(struct adafed_config *config,
                                                      const size_t *shape,
                                                      size_t dimensions,
                                                      const float *inputs,
                                                      size_t inputs_len,
                                                      const float *targets,
                                                      size_t targets_len,
                                                      size_t target_len,
                                                      struct adafed_error **error);

/**
 * Gives examples by callback, for data that does not fit in memory. `target_len` is 1 where
 * targets are labels below `classes`, and `classes` is 0 where they are not.
 */
adafed_status adafed_config_set_example_callback(struct adafed_config *config,
                                                 const size_t *shape,
                                                 size_t dimensions,
                                                 size_t count,
                                                 size_t classes,
                                                 size_t target_len,
                                                 adafed_example_callback callback,
                                                 void *userdata,
                                                 struct adafed_error **error);

/**
 * Sets who says whether the device may work now. Nobody is asked where it is not set.
 */
adafed_status adafed_config_set_conditions(struct adafed_config *config,
                                           adafed_conditions_callback callback,
                                           void *userdata,
                                           struct adafed_error **error);

/**
 * Sets who is told of events.
 */
adafed_status adafed_config_set_events(struct adafed_config *config,
                                       adafed_event_callback callback,
                                       void *userdata,
                                       struct adafed_error **error);

/**
 * Sets where log lines go. They go nowhere where it is not set.
 */
adafed_status adafed_config_set_log(struct adafed_config *config,
                                    adafed_log_callback callback,
                                    void *userdata,
                                    struct adafed_error **error);

/**
 * Keeps the device's private key with the app, as in a Keychain or Keystore, instead of in
 * the folder. A key that is in the folder already moves there.
 */
adafed_status adafed_config_set_key_store(struct adafed_config *config,
                                          adafed_load_key_callback load,
                                          adafed_save_key_callback save,
                                          void *userdata,
                                          struct adafed_error **error);

/**
 * Sends requests by callback instead of by AdaFed's own HTTP.
 */
adafed_status adafed_config_set_transport(struct adafed_config *config,
                                          adafed_transport_callback callback,
                                          void *userdata,
                                          struct adafed_error **error);

/**
 * The status that came with the error; `ADAFED_STATUS_NULL_POINTER` for NULL.
 */
adafed_status adafed_error_status(const struct adafed_error *error);

/**
 * A stable identifier such as `privacy/budget`; a server's refusal has the server's code.
 * Lives as long as the error. Empty for NULL.
 */
const char *adafed_error_code(const struct adafed_error *error);

/**
 * What was wrong, what was expected and what to do, in English. Lives as long as the error.
 * Empty for NULL.
 */
const char *adafed_error_message(const struct adafed_error *error);

/**
 * Whether the same call may succeed later without any change. False for NULL.
 */
bool adafed_error_is_retryable(const struct adafed_error *error);

/**
 * Frees an error. NULL is nothing.
 */
void adafed_error_free(struct adafed_error *error);

/**
 * Values of one input; 0 for NULL.
 */
size_t adafed_model_input_len(const struct adafed_model *model);

/**
 * Values of one output, such as one logit a class; 0 for NULL.
 */
size_t adafed_model_output_len(const struct adafed_model *model);

/**
 * Number of parameters; 0 for NULL.
 */
size_t adafed_model_parameters(const struct adafed_model *model);

/**
 * Predicts: any number of whole inputs, one after the other, into as many outputs. `outputs`
 * is the app's, of exactly that length, need not be initialised, and is written on success
 * only. All of it runs on the calling thread.
 */
adafed_status adafed_model_predict(const struct adafed_model *model,
                                   const float *inputs,
                                   size_t inputs_len,
                                   float *outputs,
                                   size_t outputs_len,
                                   struct adafed_error **error);

/**
 * Writes the model to a safetensors file.
 */
adafed_status adafed_model_save(const struct adafed_model *model,
                                const char *path,
                                struct adafed_error **error);

/**
 * Frees a model. NULL is nothing. No other call on it may be under way.
 */
void adafed_model_free(struct adafed_model *model);

/**
 * Opens the folder and makes a participant; to be freed by `adafed_participant_free`. A
 * device's first start makes its key; a later one goes on where the last one stopped. The
 * server is not asked yet. Callbacks and userdata of the configuration must live as long as
 * the participant.
 */
adafed_status adafed_participant_new(const struct adafed_config *config,
                                     struct adafed_participant **participant,
                                     struct adafed_error **error);

/**
 * Frees a participant and lets go of its folder; a round in progress goes on with the next
 * participant on the folder. NULL is nothing. No other call on it may be under way.
 */
void adafed_participant_free(struct adafed_participant *participant);

/**
 * Does one bounded piece of work: one exchange with the server, one step of local training,
 * or a piece of what the model's features take. After a failure, whatever was charged stays
 * charged, and ticking again tries again. What waiting may cure is no failure but
 * `ADAFED_ACTIVITY_DELAYED`.
 */
adafed_status adafed_participant_tick(struct adafed_participant *participant,
                                      struct adafed_progress *progress,
                                      struct adafed_error **error);

/**
 * Ticks on this thread until the task has ended, the conditions callback says
 * `ADAFED_VERDICT_STOP`, or a tick fails. Between ticks it sleeps as they ask, and looks at
 * the conditions every 20 ms.
 */
adafed_status adafed_participant_run(struct adafed_participant *participant,
                                     struct adafed_error **error);

/**
 * Asks the server for the task's plan, without agreeing to it: nothing is charged. A device
 * that is not enrolled enrols. From then on a round under another plan is refused until that
 * one was asked for, too. Where the device would refuse, `verdict` says with which status, and
 * an event why.
 */
adafed_status adafed_participant_offer(struct adafed_participant *participant,
                                       struct adafed_offer *offer,
                                       struct adafed_error **error);

/**
 * Says what the device has given of its privacy, by its own ledger.
 */
adafed_status adafed_participant_budget(struct adafed_participant *participant,
                                        struct adafed_budget *budget,
                                        struct adafed_error **error);

/**
 * Gives the device's signed privacy report as JSON, which `adafed-verify` checks; to be freed
 * by `adafed_bytes_free`.
 */
adafed_status adafed_participant_report(struct adafed_participant *participant,
                                        struct adafed_bytes **json,
                                        struct adafed_error **error);

/**
 * Gives the device's name, by which the server knows it; to be freed by `adafed_bytes_free`.
 */
adafed_status adafed_participant_device(struct adafed_participant *participant,
                                        struct adafed_bytes **name,
                                        struct adafed_error **error);

/**
 * Gives the round in progress as bytes, to be freed by `adafed_bytes_free`;
 * `ADAFED_STATUS_NOT_AVAILABLE` between rounds. `adafed_participant_restore` goes on from
 * them with the same result. They hold the seed of noise and are as secret as the examples.
 */
adafed_status adafed_participant_save(struct adafed_participant *participant,
                                      struct adafed_bytes **saved,
                                      struct adafed_error **error);

/**
 * Goes on from bytes of `adafed_participant_save` of this very device and folder; others are
 * refused, and nothing has changed then. A round whose release is recorded cannot be released
 * again: the next tick sends the recorded bytes, or drops the round.
 */
adafed_status adafed_participant_restore(struct adafed_participant *participant,
                                         const uint8_t *saved,
                                         size_t saved_len,
                                         struct adafed_error **error);

/**
 * Fetches the newest model that the server has named: that of the round joined last, or the
 * final one; to be freed by `adafed_model_free`. `ADAFED_STATUS_NOT_AVAILABLE` before the
 * first. Where the task's model has features that this participant has not made yet, they are
 * made now, on its threads, which may take a minute.
 */
adafed_status adafed_participant_model(struct adafed_participant *participant,
                                       struct adafed_model **model,
                                       struct adafed_error **error);

/**
 * Version of the library that runs, such as `0.1.0`; the header's is `ADAFED_VERSION`.
 * Static: never freed.
 */
const char *adafed_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ADAFED_H */
