"""A device that takes part in a task, in Python, without any package.

    client.py LIBRARY SERVER TASK FOLDER TOKEN IMAGES LABELS

Exit status: 0 done, 1 failed, 2 wrong arguments, 3 refused by the device's policy.
"""

import ctypes
import struct
import sys
import time

import adafed

CLASSES = 10


def read_examples(images, labels):
    """Shape, inputs and labels from the IDX files in which MNIST comes."""
    with open(images, "rb") as file:
        _, count, rows, columns = struct.unpack(">IIII", file.read(16))
        pixels = file.read()
    with open(labels, "rb") as file:
        _, found = struct.unpack(">II", file.read(8))
        marks = file.read()
    if found != count or len(marks) != count or len(pixels) != count * rows * columns:
        raise ValueError(f"{images} and {labels} do not fit each other")
    # The public rule by which all devices of a task scale their pixels.
    scaled = [(byte / 255 - 0.1) / 0.3 for byte in range(256)]
    inputs = (ctypes.c_float * len(pixels))(*map(scaled.__getitem__, pixels))
    return (1, rows, columns), inputs, (ctypes.c_uint32 * count)(*marks)


def take_part(participant):
    while True:
        progress = participant.tick()
        name = adafed.ACTIVITIES.get(progress.activity, "other")
        if name != "waited":
            print(f"{name} round {progress.round} step {progress.steps}", flush=True)
        if progress.next == adafed.NEVER:
            return
        if progress.next == adafed.WAIT:
            time.sleep(min(progress.wait_ms, 100) / 1000)


def count_right(model, inputs, labels):
    outputs = model.predict(inputs)
    rows = (outputs[i:i + CLASSES] for i in range(0, len(outputs), CLASSES))
    return sum(row.index(max(row)) == label for row, label in zip(rows, labels))


def main(arguments):
    if len(arguments) != 8:
        print(__doc__, file=sys.stderr)
        return 2
    library_path, server, task, folder, token, images, labels = arguments[1:]
    shape, inputs, marks = read_examples(images, labels)
    try:
        participant = adafed.Participant(
            adafed.AdaFed(library_path), task, server, folder, token, epsilon_cap=20.0,
            delta=1e-5, shape=shape, inputs=inputs, labels=marks, classes=CLASSES)
        offer = participant.offer()
        print(f"offer: epsilon {offer.epsilon:.3f} over {offer.rounds} rounds", flush=True)
        take_part(participant)
        model = participant.model()
        print(f"predicted {count_right(model, inputs, marks)} of {len(marks)}")
        model.save(f"{folder}.safetensors")
        print(f"epsilon spent {participant.budget().spent:.3f}")
        return 0
    except adafed.Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 3 if error.status == adafed.REFUSED_BY_POLICY else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
