"""AdaFed through ctypes: the part of adafed.h that a device in Python needs.

Nothing to install. `AdaFed(path)` loads the library; objects free what they hold.
"""

import ctypes
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_double, c_float, c_int32, c_size_t
from ctypes import c_uint32, c_uint64, c_void_p

OK = 0
NOT_AVAILABLE = 7
REFUSED_BY_POLICY = 300
ACTIVITIES = {
    0: "other", 1: "enrolled", 2: "waited", 3: "joined", 4: "trained", 5: "released",
    6: "uploaded", 7: "dropped", 8: "delayed", 9: "paused", 10: "finished",
    11: "prepared", 100: "refused", 101: "failed",
}
NOW, WAIT, NEVER = 0, 1, 2
GO, PAUSE, STOP = 0, 1, 2


class Progress(ctypes.Structure):
    _fields_ = [("activity", c_uint32), ("next", c_uint32), ("round", c_uint64),
                ("wait_ms", c_uint64), ("steps", c_uint32)]


class Offer(ctypes.Structure):
    _fields_ = [("epsilon", c_double), ("delta", c_double), ("least_noise_multiplier", c_double),
                ("rounds", c_uint64), ("parameters", c_uint64), ("upload_bytes", c_uint64),
                ("local_steps", c_uint32), ("verdict", c_uint32)]


class Budget(ctypes.Structure):
    _fields_ = [("spent", c_double), ("committed", c_double), ("cap", c_double),
                ("left", c_double), ("delta", c_double)]


CONDITIONS = CFUNCTYPE(c_uint32, c_void_p)


class Error(Exception):
    """A call that failed."""

    def __init__(self, status, code, message):
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code


class AdaFed:
    """The library."""

    def __init__(self, path):
        self._library = ctypes.CDLL(path)
        for name, result in [
            ("error_code", c_char_p), ("error_message", c_char_p), ("version", c_char_p),
            ("bytes_data", c_void_p), ("bytes_len", c_size_t), ("model_input_len", c_size_t),
            ("model_output_len", c_size_t), ("model_parameters", c_size_t),
        ]:
            self.function(name).restype = result

    def function(self, name):
        return getattr(self._library, f"adafed_{name}")

    def version(self):
        return self.function("version")().decode()

    def call(self, name, *arguments):
        """Calls a function whose last argument is the place for an error."""
        error = c_void_p()
        status = self.function(name)(*arguments, byref(error))
        if status == OK:
            return
        code = self.function("error_code")(error).decode()
        message = self.function("error_message")(error).decode()
        self.function("error_free")(error)
        raise Error(status, code, message)

    def read(self, handle):
        """The content of an `adafed_bytes`, which is freed."""
        try:
            length = self.function("bytes_len")(handle)
            return ctypes.string_at(self.function("bytes_data")(handle), length)
        finally:
            self.function("bytes_free")(handle)


class Model:
    """A model of the federation."""

    def __init__(self, library, handle):
        self._library, self._handle = library, handle
        self.input_len = library.function("model_input_len")(handle)
        self.output_len = library.function("model_output_len")(handle)

    def predict(self, inputs):
        """Outputs for inputs that follow each other in a flat list or ctypes array."""
        count = len(inputs) // self.input_len * self.output_len
        lent = inputs if isinstance(inputs, ctypes.Array) else (c_float * len(inputs))(*inputs)
        outputs = (c_float * count)()
        self._library.call("model_predict", self._handle, lent, c_size_t(len(lent)), outputs,
                           c_size_t(count))
        return list(outputs)

    def save(self, path):
        self._library.call("model_save", self._handle, path.encode())

    def __del__(self):
        self._library.function("model_free")(self._handle)


class Participant:
    """A device's part in a task. `inputs` is a ctypes array of floats, `labels` of uint32."""

    def __init__(self, library, task, server, folder, token, epsilon_cap, delta, shape, inputs,
                 labels, classes, conditions=lambda: GO):
        self._library, self._handle = library, None
        # ctypes forgets a callback that nobody holds.
        self._conditions = CONDITIONS(lambda _: self._verdict(conditions))
        self._raised = None
        config = c_void_p()
        library.call("config_new", task.encode(), byref(config))
        try:
            library.call("config_set_server", config, server.encode())
            library.call("config_set_folder", config, folder.encode())
            library.call("config_set_token", config, token.encode())
            library.call("config_set_policy", config, c_double(epsilon_cap), c_double(delta))
            library.call("config_set_examples", config, (c_size_t * len(shape))(*shape),
                         c_size_t(len(shape)), inputs, c_size_t(len(inputs)), labels,
                         c_size_t(len(labels)), c_size_t(classes))
            library.call("config_set_conditions", config, self._conditions, None)
            handle = c_void_p()
            library.call("participant_new", config, byref(handle))
            self._handle = handle
        finally:
            library.function("config_free")(config)

    def _verdict(self, conditions):
        """What the app says; a pause where it fails, which is raised once the call returns."""
        try:
            return int(conditions())
        except BaseException as error:  # ctypes would swallow it and leave the answer to chance
            self._raised = error
            return PAUSE

    def _get(self, name, kind):
        result = kind()
        try:
            self._library.call(f"participant_{name}", self._handle, byref(result))
        finally:
            raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        return result

    def tick(self):
        return self._get("tick", Progress)

    def offer(self):
        return self._get("offer", Offer)

    def budget(self):
        return self._get("budget", Budget)

    def report(self):
        return self._library.read(self._get("report", c_void_p)).decode()

    def save(self):
        """The round in progress; None between rounds. As secret as the examples."""
        try:
            return self._library.read(self._get("save", c_void_p))
        except Error as error:
            if error.status == NOT_AVAILABLE:
                return None
            raise

    def restore(self, saved):
        self._library.call("participant_restore", self._handle, saved, c_size_t(len(saved)))

    def model(self):
        return Model(self._library, self._get("model", c_void_p))

    def __del__(self):
        if self._handle is not None:
            self._library.function("participant_free")(self._handle)
