/*
 * AdaFed for C++17: the functions of adafed.h as classes that free what they hold, with
 * exceptions instead of statuses. Header only; link libadafed.
 *
 * What adafed.h says of threads and callbacks holds here too. An exception that leaves a
 * callback is caught and stands for its failure.
 */
#ifndef ADAFED_HPP
#define ADAFED_HPP

#include <adafed.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace adafed {

/** A call that failed. */
class Error : public std::runtime_error {
  public:
    /** Takes an error of the C interface over. */
    Error(adafed_status status, adafed_error *error)
        : std::runtime_error(adafed_error_message(error)), status_(status),
          code_(adafed_error_code(error)), retryable_(adafed_error_is_retryable(error)) {
        adafed_error_free(error);
    }

    adafed_status status() const noexcept { return status_; }
    /** Stable identifier such as `privacy/budget`. */
    const std::string &code() const noexcept { return code_; }
    /** Whether the same call may succeed later without any change. */
    bool is_retryable() const noexcept { return retryable_; }
    /** Whether the device's own policy refuses. */
    bool is_refusal() const noexcept { return status_ == ADAFED_STATUS_REFUSED_BY_POLICY; }

  private:
    adafed_status status_;
    std::string code_;
    bool retryable_;
};

namespace detail {

/** Calls a function whose last argument is the place for an error. */
template <typename Function, typename... Arguments>
void call(Function function, Arguments... arguments) {
    adafed_error *error = nullptr;
    if (adafed_status status = function(arguments..., &error); status != ADAFED_STATUS_OK) {
        throw Error(status, error);
    }
}

/** What `body` returns, or `otherwise` where it throws. */
template <typename Body, typename Result> Result shielded(Body body, Result otherwise) noexcept {
    try {
        return body();
    } catch (...) {
        return otherwise;
    }
}

struct Free {
    void operator()(adafed_bytes *bytes) const noexcept { adafed_bytes_free(bytes); }
    void operator()(adafed_config *config) const noexcept { adafed_config_free(config); }
    void operator()(adafed_model *model) const noexcept { adafed_model_free(model); }
    void operator()(adafed_participant *p) const noexcept { adafed_participant_free(p); }
};

template <typename Object> using Handle = std::unique_ptr<Object, Free>;

} // namespace detail

/** An answer of an app's own HTTP. */
struct Response {
    std::uint16_t status;
    std::vector<std::uint8_t> body;
};

/** Writes example `index` into `input` and its target into `target`. */
using ReadExample = std::function<void(std::size_t index, float *input, std::size_t input_len,
                                       float *target, std::size_t target_len)>;
using Conditions = std::function<adafed_verdict()>;
using Events = std::function<void(const adafed_event &)>;
using Log = std::function<void(std::uint32_t level, std::string_view line)>;
/** Throws where no answer came. */
using Transport = std::function<Response(const adafed_request &)>;

/** Where the device's key is kept. */
struct KeyStore {
    /** Empty where no key is kept yet; throws where the key store cannot be read. */
    std::function<std::vector<std::uint8_t>()> load;
    std::function<void(const std::uint8_t *key, std::size_t len)> save;
};

/** Inputs of one shape, one after the other, with their labels. Copied when they are given. */
struct Examples {
    std::vector<std::size_t> shape;
    const float *inputs;
    std::size_t inputs_len;
    const std::uint32_t *labels;
    std::size_t count;
    std::size_t classes;
};

/** What a participant is made from. A participant keeps the callbacks that it was made with,
 * whatever is set afterwards. */
class Config {
  public:
    explicit Config(const std::string &task) {
        adafed_config *config = nullptr;
        detail::call(adafed_config_new, task.c_str(), &config);
        config_.reset(config);
    }

    Config &server(const std::string &address) {
        return set(adafed_config_set_server, address.c_str());
    }
    Config &folder(const std::string &path) {
        return set(adafed_config_set_folder, path.c_str());
    }
    Config &token(const std::string &token) { return set(adafed_config_set_token, token.c_str()); }
    Config &policy(double epsilon_cap, double delta) {
        return set(adafed_config_set_policy, epsilon_cap, delta);
    }
    Config &least_noise_multiplier(double multiplier) {
        return set(adafed_config_set_least_noise_multiplier, multiplier);
    }
    Config &least_examples(std::uint64_t examples) {
        return set(adafed_config_set_least_examples, examples);
    }
    Config &threads(std::size_t threads) { return set(adafed_config_set_threads, threads); }

    Config &examples(const Examples &e) {
        return set(adafed_config_set_examples, e.shape.data(), e.shape.size(), e.inputs,
                   e.inputs_len, e.labels, e.count, e.classes);
    }

    Config &examples(const std::vector<std::size_t> &shape, std::size_t count, std::size_t classes,
                     ReadExample read, std::size_t target_len = 1) {
        const auto kept = std::make_shared<ReadExample>(std::move(read));
        set(adafed_config_set_example_callback, shape.data(), shape.size(), count, classes,
            target_len, &on_example, kept.get());
        return keep(0, kept);
    }

    Config &conditions(Conditions ask) {
        const auto kept = std::make_shared<Conditions>(std::move(ask));
        set(adafed_config_set_conditions, &on_conditions, kept.get());
        return keep(1, kept);
    }

    Config &events(Events tell) {
        const auto kept = std::make_shared<Events>(std::move(tell));
        set(adafed_config_set_events, &on_event, kept.get());
        return keep(2, kept);
    }

    Config &log(Log write) {
        const auto kept = std::make_shared<Log>(std::move(write));
        set(adafed_config_set_log, &on_log, kept.get());
        return keep(3, kept);
    }

    Config &key_store(KeyStore keys) {
        const auto kept = std::make_shared<KeyStore>(std::move(keys));
        set(adafed_config_set_key_store, &on_load_key, &on_save_key, kept.get());
        return keep(4, kept);
    }

    Config &transport(Transport send) {
        const auto kept = std::make_shared<Transport>(std::move(send));
        set(adafed_config_set_transport, &on_request, kept.get());
        return keep(5, kept);
    }

  private:
    friend class Participant;

    /** One place a kind of callback: what was set last is what the next participant has. */
    using Callbacks = std::array<std::shared_ptr<void>, 6>;

    template <typename Function, typename... Arguments>
    Config &set(Function function, Arguments... arguments) {
        detail::call(function, config_.get(), arguments...);
        return *this;
    }

    Config &keep(std::size_t place, std::shared_ptr<void> callback) {
        callbacks_[place] = std::move(callback);
        return *this;
    }

    template <typename Callback> static Callback &of(void *userdata) noexcept {
        return *static_cast<Callback *>(userdata);
    }

    static std::int32_t on_example(void *userdata, std::size_t index, float *input,
                                   std::size_t input_len, float *target, std::size_t target_len) {
        return detail::shielded(
            [&] { return of<ReadExample>(userdata)(index, input, input_len, target, target_len), 0; }, 1);
    }
    static std::uint32_t on_conditions(void *userdata) {
        return detail::shielded([&] { return of<Conditions>(userdata)(); }, ADAFED_VERDICT_PAUSE);
    }
    static void on_event(void *userdata, const adafed_event *event) {
        detail::shielded([&] { return of<Events>(userdata)(*event), 0; }, 1);
    }
    static void on_log(void *userdata, std::uint32_t level, const char *line) {
        detail::shielded([&] { return of<Log>(userdata)(level, line), 0; }, 1);
    }
    static std::int32_t on_load_key(void *userdata, std::uint8_t *key, std::size_t capacity,
                                    std::size_t *len) {
        return detail::shielded(
            [&] {
                const std::vector<std::uint8_t> kept = of<KeyStore>(userdata).load();
                if (kept.size() > capacity) {
                    return 1;
                }
                std::copy(kept.begin(), kept.end(), key);
                *len = kept.size();
                return 0;
            },
            1);
    }
    static std::int32_t on_save_key(void *userdata, const std::uint8_t *key, std::size_t len) {
        return detail::shielded([&] { return of<KeyStore>(userdata).save(key, len), 0; }, 1);
    }
    static std::int32_t on_request(void *userdata, const adafed_request *request,
                                   adafed_response *response) {
        return detail::shielded(
            [&] {
                const Response r = of<Transport>(userdata)(*request);
                detail::call(adafed_response_set, response, r.status, r.body.data(),
                             r.body.size());
                return 0;
            },
            1);
    }

    Callbacks callbacks_;
    detail::Handle<adafed_config> config_;
};

/** A model of the federation. */
class Model {
  public:
    std::size_t input_len() const noexcept { return adafed_model_input_len(model_.get()); }
    std::size_t output_len() const noexcept { return adafed_model_output_len(model_.get()); }
    std::size_t parameters() const noexcept { return adafed_model_parameters(model_.get()); }

    /** One output for every whole input. */
    std::vector<float> predict(const float *inputs, std::size_t inputs_len) const {
        const std::size_t each = std::max<std::size_t>(input_len(), 1);
        std::vector<float> outputs(inputs_len / each * output_len());
        detail::call(adafed_model_predict, model_.get(), inputs, inputs_len, outputs.data(),
                     outputs.size());
        return outputs;
    }

    /** Writes a safetensors file. */
    void save(const std::string &path) const {
        detail::call(adafed_model_save, model_.get(), path.c_str());
    }

  private:
    friend class Participant;
    explicit Model(adafed_model *model) : model_(model) {}

    detail::Handle<adafed_model> model_;
};

/** A device's part in a task. */
class Participant {
  public:
    explicit Participant(const Config &config) : callbacks_(config.callbacks_) {
        adafed_participant *participant = nullptr;
        detail::call(adafed_participant_new, config.config_.get(), &participant);
        participant_.reset(participant);
    }

    adafed_progress tick() { return get<adafed_progress>(adafed_participant_tick); }
    void run() { detail::call(adafed_participant_run, participant_.get()); }
    adafed_offer offer() { return get<adafed_offer>(adafed_participant_offer); }
    adafed_budget budget() { return get<adafed_budget>(adafed_participant_budget); }
    std::string report() { return text(adafed_participant_report); }
    std::string device() { return text(adafed_participant_device); }

    /** The round in progress; none between rounds. As secret as the examples. */
    std::optional<std::string> save() {
        return optional([&] { return text(adafed_participant_save); });
    }

    void restore(std::string_view saved) {
        const auto *bytes = reinterpret_cast<const std::uint8_t *>(saved.data());
        detail::call(adafed_participant_restore, participant_.get(), bytes, saved.size());
    }

    /** The newest model that the server has named; none before the first. */
    std::optional<Model> model() {
        return optional([&] { return Model(get<adafed_model *>(adafed_participant_model)); });
    }

  private:
    template <typename Result, typename Function> Result get(Function function) {
        Result result{};
        detail::call(function, participant_.get(), &result);
        return result;
    }

    template <typename Function> std::string text(Function function) {
        const detail::Handle<adafed_bytes> bytes(get<adafed_bytes *>(function));
        const auto *data = reinterpret_cast<const char *>(adafed_bytes_data(bytes.get()));
        return std::string(data, adafed_bytes_len(bytes.get()));
    }

    template <typename Body> auto optional(Body body) -> std::optional<decltype(body())> {
        try {
            return body();
        } catch (const Error &error) {
            if (error.status() == ADAFED_STATUS_NOT_AVAILABLE) {
                return std::nullopt;
            }
            throw;
        }
    }

    // Outlive the participant, which is declared after them.
    Config::Callbacks callbacks_;
    detail::Handle<adafed_participant> participant_;
};

} // namespace adafed

#endif
