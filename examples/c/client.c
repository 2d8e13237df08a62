/* A device that takes part in a task, in C: trains on images from IDX files, survives being
 * killed, and predicts with the model that the federation made.
 *
 *     client SERVER TASK FOLDER TOKEN IMAGES LABELS [UNTIL]
 *
 * FOLDER is the device's own and kept between runs. With UNTIL, such as `released`, it stops
 * after the first event of that name. Ctrl-C stops it within a micro-batch; the next run goes
 * on. Exit status: 0 done, 1 failed, 2 wrong arguments, 3 refused by the device's policy. */
#define _POSIX_C_SOURCE 200809L

#include <adafed.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "idx.h"
#include "snapshot.h"

#define CLASSES 10
/* What this device's owner allows, over all tasks and for ever. */
#define EPSILON_CAP 20.0
#define DELTA 1e-5

static volatile sig_atomic_t stopped = 0;

static void stop(int signal_number) {
    (void)signal_number;
    stopped = 1;
}

/* A phone would also ask here whether it is charging, idle and on a free network. */
static uint32_t conditions(void *userdata) {
    (void)userdata;
    return stopped ? ADAFED_VERDICT_STOP : ADAFED_VERDICT_GO;
}

static const char *name_of(adafed_activity activity) {
    switch (activity) {
    case ADAFED_ACTIVITY_ENROLLED: return "enrolled";
    case ADAFED_ACTIVITY_WAITED: return "waited";
    case ADAFED_ACTIVITY_JOINED: return "joined";
    case ADAFED_ACTIVITY_TRAINED: return "trained";
    case ADAFED_ACTIVITY_RELEASED: return "released";
    case ADAFED_ACTIVITY_UPLOADED: return "uploaded";
    case ADAFED_ACTIVITY_DROPPED: return "dropped";
    case ADAFED_ACTIVITY_DELAYED: return "delayed";
    case ADAFED_ACTIVITY_PAUSED: return "paused";
    case ADAFED_ACTIVITY_FINISHED: return "finished";
    case ADAFED_ACTIVITY_PREPARED: return "prepared";
    case ADAFED_ACTIVITY_REFUSED: return "refused";
    case ADAFED_ACTIVITY_FAILED: return "failed";
    default: return "other";
    }
}

static void on_event(void *userdata, const adafed_event *event) {
    (void)userdata;
    if (event->activity == ADAFED_ACTIVITY_WAITED) {
        return;
    }
    printf("%s round %llu step %u %s\n", name_of(event->activity),
           (unsigned long long)event->round, (unsigned)event->steps, event->message);
    fflush(stdout);
}

static void on_log(void *userdata, uint32_t level, const char *line) {
    (void)userdata;
    if (level <= ADAFED_LOG_LEVEL_WARNING) {
        fprintf(stderr, "adafed: %s\n", line);
    }
}

static adafed_status configure(char **arguments, const struct examples *examples,
                               adafed_config **config, adafed_error **error) {
    const size_t shape[3] = {1, examples->rows, examples->columns};
    size_t values = examples->count * examples->rows * examples->columns;
    adafed_status status = adafed_config_new(arguments[2], config, error);
    if (status == ADAFED_STATUS_OK) {
        status = adafed_config_set_server(*config, arguments[1], error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = adafed_config_set_folder(*config, arguments[3], error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = adafed_config_set_token(*config, arguments[4], error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = adafed_config_set_policy(*config, EPSILON_CAP, DELTA, error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = adafed_config_set_examples(*config, shape, 3, examples->inputs, values,
                                            examples->labels, examples->count, CLASSES, error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = adafed_config_set_conditions(*config, conditions, NULL, error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = adafed_config_set_events(*config, on_event, NULL, error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = adafed_config_set_log(*config, on_log, NULL, error);
    }
    return status;
}

/* Says what the task would cost; a device that would not pay it does not begin. */
static adafed_status consider(adafed_participant *participant, adafed_error **error) {
    adafed_offer offer;
    adafed_status status = adafed_participant_offer(participant, &offer, error);
    if (status != ADAFED_STATUS_OK) {
        return status;
    }
    printf("offer: %llu rounds of %u steps, %llu parameters, epsilon %.3f at delta %g\n",
           (unsigned long long)offer.rounds, (unsigned)offer.local_steps,
           (unsigned long long)offer.parameters, offer.epsilon, offer.delta);
    fflush(stdout);
    return offer.verdict;
}

static void wait_ms(uint64_t milliseconds) {
    /* Not longer than a while, so that Ctrl-C is noticed. */
    uint64_t most = milliseconds < 100 ? milliseconds : 100;
    struct timespec time = {0, (long)most * 1000000L};
    nanosleep(&time, NULL);
}

/* Ticks until the task ends, the user says so, or `until` happens. */
static adafed_status take_part(adafed_participant *participant, const char *snapshot,
                               const char *until, int *finished, adafed_error **error) {
    adafed_progress progress = {0};
    adafed_status status = ADAFED_STATUS_OK;
    while (!stopped && progress.next != ADAFED_NEXT_NEVER) {
        status = adafed_participant_tick(participant, &progress, error);
        if (status != ADAFED_STATUS_OK) {
            return status;
        }
        if (progress.activity == ADAFED_ACTIVITY_TRAINED) {
            status = snapshot_keep(participant, snapshot, error);
        } else if (progress.activity == ADAFED_ACTIVITY_RELEASED ||
                   progress.activity == ADAFED_ACTIVITY_DROPPED) {
            remove(snapshot);
        }
        if (status != ADAFED_STATUS_OK || strcmp(name_of(progress.activity), until) == 0) {
            return status;
        }
        if (progress.next == ADAFED_NEXT_WAIT) {
            wait_ms(progress.wait_ms);
        }
    }
    *finished = progress.next == ADAFED_NEXT_NEVER;
    return status;
}

static size_t largest(const float *values, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        best = values[i] > values[best] ? i : best;
    }
    return best;
}

/* Predicts the device's own examples, one by one. What this prints must not leave the device:
 * it is computed from the examples themselves. */
static adafed_status predict(const adafed_model *model, const struct examples *examples,
                             adafed_error **error) {
    float outputs[CLASSES];
    size_t width = examples->rows * examples->columns, right = 0;
    for (size_t i = 0; i < examples->count; i++) {
        adafed_status status = adafed_model_predict(model, examples->inputs + i * width, width,
                                                    outputs, CLASSES, error);
        if (status != ADAFED_STATUS_OK) {
            return status;
        }
        right += largest(outputs, CLASSES) == examples->labels[i];
    }
    printf("predicted %zu of %zu\n", right, examples->count);
    return ADAFED_STATUS_OK;
}

static adafed_status use_model(adafed_participant *participant, const char *path,
                               const struct examples *examples, adafed_error **error) {
    adafed_model *model = NULL;
    adafed_status status = adafed_participant_model(participant, &model, error);
    if (status == ADAFED_STATUS_OK) {
        status = predict(model, examples, error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = adafed_model_save(model, path, error);
    }
    adafed_model_free(model);
    return status;
}

static adafed_status say_what_was_spent(adafed_participant *participant, adafed_error **error) {
    adafed_budget budget;
    adafed_status status = adafed_participant_budget(participant, &budget, error);
    if (status == ADAFED_STATUS_OK) {
        printf("epsilon spent %.3f of %.1f, %.3f left for other tasks\n", budget.spent, budget.cap,
               budget.left);
    }
    return status;
}

static int say(adafed_status status, const adafed_error *error) {
    if (status == ADAFED_STATUS_OK) {
        return 0;
    }
    fprintf(stderr, "error %u (%s): %s\n", (unsigned)status, adafed_error_code(error),
            adafed_error_message(error));
    return status == ADAFED_STATUS_REFUSED_BY_POLICY ? 3 : 1;
}

int main(int count, char **arguments) {
    if (count < 7 || count > 8) {
        fprintf(stderr, "usage: %s SERVER TASK FOLDER TOKEN IMAGES LABELS [UNTIL]\n", arguments[0]);
        return 2;
    }
    const char *until = count == 8 ? arguments[7] : "";
    char snapshot[4096], weights[4096];
    struct examples examples;
    adafed_config *config = NULL;
    adafed_participant *participant = NULL;
    adafed_error *error = NULL;
    adafed_status status = ADAFED_STATUS_OK;
    int finished = 0, result = 1;

    /* In the folder: it is of use with the ledger there, and is lost with it. */
    snprintf(snapshot, sizeof snapshot, "%s/client.snapshot", arguments[3]);
    snprintf(weights, sizeof weights, "%s.safetensors", arguments[3]);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    if (strcmp(adafed_version(), ADAFED_VERSION) != 0) {
        fprintf(stderr, "compiled for %s, running with %s\n", ADAFED_VERSION, adafed_version());
    }
    if (examples_read(arguments[5], arguments[6], &examples) != 0) {
        goto clean_up;
    }
    status = configure(arguments, &examples, &config, &error);
    if (status == ADAFED_STATUS_OK) {
        status = adafed_participant_new(config, &participant, &error);
    }
    if (status == ADAFED_STATUS_OK) {
        snapshot_restore(participant, snapshot);
        status = consider(participant, &error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = take_part(participant, snapshot, until, &finished, &error);
    }
    if (status == ADAFED_STATUS_OK) {
        status = say_what_was_spent(participant, &error);
    }
    if (status == ADAFED_STATUS_OK && finished) {
        status = use_model(participant, weights, &examples, &error);
    }
    result = say(status, error);

clean_up:
    adafed_error_free(error);
    adafed_participant_free(participant);
    adafed_config_free(config);
    examples_free(&examples);
    return result;
}
