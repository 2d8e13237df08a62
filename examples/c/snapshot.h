/* Keeps the round in progress in the participant's folder, so that a process that is
 * killed goes on in the middle of local training. As secret as the examples. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <adafed.h>

/* A file that cannot be written, or that does not fit, is no failure: the round then goes on
 * from its start, to the same bytes. */
adafed_status snapshot_keep(adafed_participant *participant, const char *path, adafed_error **error);
void snapshot_restore(adafed_participant *participant, const char *path);

#endif
