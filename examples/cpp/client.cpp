// A device that takes part in a task, in C++: examples by callback, as from a database.
//
//     client SERVER TASK FOLDER TOKEN IMAGES LABELS
//
// Exit status: 0 done, 1 failed, 2 wrong arguments, 3 refused by the device's policy.
#include <adafed.hpp>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::size_t side = 28, classes = 10;
constexpr std::size_t images_head = 16, labels_head = 8;

// Reads one image at a time from the IDX files in which MNIST comes.
class Images {
  public:
    Images(const std::string &images, const std::string &labels)
        : images_(images, std::ios::binary), labels_(labels, std::ios::binary) {
        labels_.seekg(0, std::ios::end);
        if (!images_ || !labels_ || static_cast<std::size_t>(labels_.tellg()) < labels_head) {
            throw std::runtime_error("cannot read " + images + " and " + labels);
        }
        count_ = static_cast<std::size_t>(labels_.tellg()) - labels_head;
    }

    std::size_t count() const { return count_; }

    // The public rule by which all devices of a task scale their pixels.
    void read(std::size_t index, float *input, float *target) {
        std::vector<char> pixels(side * side);
        images_.seekg(static_cast<std::streamoff>(images_head + index * side * side));
        images_.read(pixels.data(), side * side);
        labels_.seekg(static_cast<std::streamoff>(labels_head + index));
        const int label = labels_.get();
        if (!images_ || !labels_) {
            throw std::runtime_error("the files end too early");
        }
        std::transform(pixels.begin(), pixels.end(), input, [](char pixel) {
            return (static_cast<float>(static_cast<unsigned char>(pixel)) / 255.0f - 0.1f) / 0.3f;
        });
        *target = static_cast<float>(label);
    }

  private:
    std::ifstream images_, labels_;
    std::size_t count_ = 0;
};

std::size_t count_right(const adafed::Model &model, Images &images) {
    std::vector<float> input(model.input_len());
    std::size_t right = 0;
    for (std::size_t i = 0; i < images.count(); i++) {
        float label = 0;
        images.read(i, input.data(), &label);
        const std::vector<float> outputs = model.predict(input.data(), input.size());
        const auto largest = std::max_element(outputs.begin(), outputs.end()) - outputs.begin();
        right += static_cast<float>(largest) == label;
    }
    return right;
}

void take_part(char **arguments) {
    Images images(arguments[5], arguments[6]);
    adafed::Config config(arguments[2]);
    config.server(arguments[1]).folder(arguments[3]).token(arguments[4]).policy(20.0, 1e-5);
    config.examples({1, side, side}, images.count(), classes,
                    [&](std::size_t index, float *input, std::size_t, float *target, std::size_t) {
                        images.read(index, input, target);
                    });
    config.conditions([] { return ADAFED_VERDICT_GO; });
    config.events([](const adafed_event &event) {
        if (event.activity == ADAFED_ACTIVITY_UPLOADED) {
            std::cout << "uploaded round " << event.round << std::endl;
        }
    });
    adafed::Participant participant(config);
    const adafed_offer offer = participant.offer();
    std::cout << "offer: epsilon " << offer.epsilon << " over " << offer.rounds << " rounds\n";
    participant.run();
    if (const auto model = participant.model()) {
        std::cout << "predicted " << count_right(*model, images) << " of " << images.count() << "\n";
        model->save(std::string(arguments[3]) + ".safetensors");
    }
    std::cout << "epsilon spent " << participant.budget().spent << std::endl;
}

} // namespace

int main(int count, char **arguments) {
    if (count != 7) {
        std::cerr << "usage: client SERVER TASK FOLDER TOKEN IMAGES LABELS\n";
        return 2;
    }
    try {
        take_part(arguments);
        return 0;
    } catch (const adafed::Error &error) {
        std::cerr << "error (" << error.code() << "): " << error.what() << "\n";
        return error.is_refusal() ? 3 : 1;
    } catch (const std::exception &error) {
        std::cerr << "error: " << error.what() << "\n";
        return 1;
    }
}
