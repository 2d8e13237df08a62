// The C++ wrapper: errors are exceptions, and an exception in a callback is its failure.
//
//     wrapper FOLDER
#include <adafed.hpp>

#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            std::cerr << __FILE__ << ":" << __LINE__ << ": expected " << #condition       \
                      << std::endl;                                                       \
            std::exit(1);                                                                 \
        }                                                                                 \
    } while (0)

// The status with which `body` fails.
template <typename Body> adafed_status failure(Body body) {
    try {
        body();
        return ADAFED_STATUS_OK;
    } catch (const adafed::Error &error) {
        CHECK(!error.code().empty() && error.what()[0] != '\0');
        return error.status();
    }
}

adafed::Config whole_config(const std::string &folder) {
    adafed::Config config("test");
    config.folder(folder).policy(8.0, 1e-5).threads(1).token("");
    config.examples({2}, 1, 2, [](std::size_t, float *, std::size_t, float *, std::size_t) {});
    config.transport([](const adafed_request &) -> adafed::Response { throw std::runtime_error("no"); });
    return config;
}

void errors_are_exceptions() {
    CHECK(failure([] { adafed::Config config(""); }) == ADAFED_STATUS_INVALID_TEXT);
    adafed::Config config("test");
    CHECK(failure([&] { config.policy(-1.0, 1e-5); }) == ADAFED_STATUS_INVALID_VALUE);
    CHECK(failure([&] { adafed::Participant participant(config); }) == ADAFED_STATUS_MISSING);
}

void exceptions_of_callbacks_are_failures(const std::string &folder) {
    int lines = 0;
    adafed::Config config = whole_config(folder);
    config.key_store({[]() -> std::vector<std::uint8_t> { throw 1; },
                      [](const std::uint8_t *, std::size_t) {}});
    CHECK(failure([&] { adafed::Participant participant(config); }) == ADAFED_STATUS_CALLBACK_FAILED);
    std::vector<std::uint8_t> key;
    config.key_store({[&] { return key; }, [&](const std::uint8_t *bytes, std::size_t len) {
                          key.assign(bytes, bytes + len);
                      }});
    config.events([](const adafed_event &) { throw std::runtime_error("not told"); });
    config.log([&](std::uint32_t, std::string_view line) { lines += !line.empty(); });
    adafed::Participant participant(config);
    CHECK(participant.tick().activity == ADAFED_ACTIVITY_DELAYED && lines == 1);
    CHECK(!key.empty() && !participant.device().empty());
    CHECK(!participant.save() && !participant.model());
    CHECK(failure([&] { participant.restore("x"); }) == ADAFED_STATUS_INVALID_MESSAGE);
    CHECK(failure([&] { participant.offer(); }) == ADAFED_STATUS_UNREACHABLE);
    CHECK(participant.budget().left == 8.0);
    CHECK(participant.report().find("\"ledger_head\"") != std::string::npos);
}

void a_condition_that_throws_is_a_pause(const std::string &folder) {
    adafed::Config config = whole_config(folder);
    config.conditions([]() -> adafed_verdict { throw std::runtime_error("unknown"); });
    adafed::Participant moved(config);
    adafed::Participant participant = std::move(moved);
    CHECK(participant.tick().activity == ADAFED_ACTIVITY_PAUSED);
}

// What is set later is for the participants that are made later.
void a_participant_keeps_its_callbacks(const std::string &folder) {
    int first = 0, second = 0;
    adafed::Config config = whole_config(folder + "-1");
    config.events([&](const adafed_event &) { first++; });
    adafed::Participant one(config);
    config.folder(folder + "-2").events([&](const adafed_event &) { second++; });
    CHECK(failure([&] { config.examples({0}, 1, 2, nullptr); }) == ADAFED_STATUS_INVALID_EXAMPLES);
    adafed::Participant two(config);
    one.tick();
    CHECK(first == 1 && second == 0);
    two.tick();
    CHECK(first == 1 && second == 1);
}

} // namespace

int main(int count, char **arguments) {
    CHECK(count == 2);
    const std::string folder = arguments[1];
    errors_are_exceptions();
    exceptions_of_callbacks_are_failures(folder + "/callbacks");
    a_condition_that_throws_is_a_pause(folder + "/conditions");
    a_participant_keeps_its_callbacks(folder + "/kept");
    std::cout << "wrapper: all as expected" << std::endl;
    return 0;
}
