// Compares the engine's Winograd kernel with the plain sum, on random numbers and on the extreme ones:
//   check_winograd CHANNELS OUTPUTS HEIGHT WIDTH TOP LEFT BOTTOM RIGHT IMAGES THREADS random|extreme|too-large
//   ->  "OUTPUTS DIFFERENT MICROSECONDS"
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "engine/winograd.h"
#include "plain_sum.h"

extern "C" void omp_set_num_threads(int);

namespace {

struct Case {
  Winograd::Shape shape;
  std::size_t images;
  std::vector<std::uint8_t> source;
  std::vector<std::int8_t> weights;
  std::vector<float> scale, bias;
};

// Extreme: pixels of 0 and 255, weights of one sign and as large as they may be; too large: one more.
Case Make(const Winograd::Shape& shape, std::size_t images, const char* numbers) {
  const bool too_large = std::strcmp(numbers, "too-large") == 0;
  const bool extreme = too_large || std::strcmp(numbers, "extreme") == 0;
  std::mt19937 random(7);
  const auto channels = static_cast<std::size_t>(shape.channels), outputs = static_cast<std::size_t>(shape.outputs);
  Case c{shape, images, std::vector<std::uint8_t>(images * channels * static_cast<std::size_t>(shape.height * shape.width)),
         std::vector<std::int8_t>(outputs * channels * 9), std::vector<float>(outputs), std::vector<float>(outputs)};
  for (auto& v : c.source) v = static_cast<std::uint8_t>(extreme ? random() % 4 == 0 ? 0 : 255 : random());
  const int most = std::min(127, ((1 << 25) - 1) / 255 / 9 / shape.channels + too_large);
  for (std::size_t i = 0; i < c.weights.size(); ++i) {
    const int sign = i / (channels * 9) % 2 == 0 ? 1 : -1;
    c.weights[i] = static_cast<std::int8_t>(extreme ? sign * most : static_cast<int>(random() % 101) - 50);
  }
  const float spread = extreme ? 1e-7f : 2e-5f / static_cast<float>(std::sqrt(shape.channels));
  std::uniform_real_distribution<float> scale(spread / 10, spread), bias(-1.0f, 2.0f);
  for (auto& v : c.scale) v = scale(random);
  for (auto& v : c.bias) v = bias(random);
  return c;
}

int Sum(const Case& c, int image, int y, int x, int output) {
  const Winograd::Shape& s = c.shape;
  int sum = 0;
  for (int i = 0; i < 9; ++i) {
    const int row = y + i / 3 - s.top, column = x + i % 3 - s.left;
    if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
    const std::uint8_t* from = &c.source[((image * s.height + row) * s.width + column) * s.channels];
    const std::int8_t* weights = &c.weights[static_cast<std::size_t>(output) * s.channels * 9 + i];
    for (int channel = 0; channel < s.channels; ++channel) sum += from[channel] * weights[channel * 9];
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 12) return 2;
  int v[10];
  for (int i = 0; i < 10; ++i) v[i] = std::atoi(argv[i + 1]);
  const Winograd::Shape shape{v[0], v[2], v[3], v[1], v[4], v[5], v[2] + v[4] + v[6] - 2, v[3] + v[5] + v[7] - 2};
  if (!Winograd::Supported() || !Winograd::Fits(shape)) return 3;
  omp_set_num_threads(v[9]);
  const auto images = static_cast<std::size_t>(v[8]);
  const Case c = Make(shape, images, argv[11]);
  if (!Winograd::Exact(shape, c.weights.data())) return 4;
  const Winograd kernel(shape, c.weights.data(), c.scale.data(), c.bias.data(), kHigh, kFactor);
  const int each = shape.output_height * shape.output_width * shape.outputs;
  std::vector<std::uint8_t> found(images * static_cast<std::size_t>(each), 99);
  Aligned<char> scratch(kernel.ScratchBytes(v[9]));
  double least = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    kernel.RunBatch(c.source.data(), images, found.data(), scratch.data());
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  const auto sum = [&](int image, int y, int x, int output) { return Sum(c, image, y, x, output); };
  const std::size_t different = Different(found, shape.output_height, shape.output_width, c.scale, c.bias, sum);
  std::printf("%zu %zu %.1f\n", found.size(), different, least * 1e6);
}
