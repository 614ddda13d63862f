// Compares the engine's depthwise kernel with the plain sum, on random numbers:
//   check_depthwise CHANNELS HEIGHT WIDTH STRIDE TOP LEFT BOTTOM RIGHT THREADS   ->  "OUTPUTS DIFFERENT MICROSECONDS"
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "engine/depthwise.h"
#include "plain_sum.h"

extern "C" void omp_set_num_threads(int);

namespace {

constexpr int kImages = 2;

struct Case {
  Depthwise::Shape shape;
  std::vector<std::uint8_t> source;
  std::vector<std::int8_t> weights;
  std::vector<float> scale, bias;
};

Case Random(const Depthwise::Shape& shape) {
  std::mt19937 random(7);
  const auto channels = static_cast<std::size_t>(shape.channels);
  Case c{shape, std::vector<std::uint8_t>(kImages * channels * static_cast<std::size_t>(shape.height * shape.width)),
         std::vector<std::int8_t>(channels * 9), std::vector<float>(channels), std::vector<float>(channels)};
  for (auto& v : c.source) v = static_cast<std::uint8_t>(random());
  for (auto& v : c.weights) v = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
  std::uniform_real_distribution<float> scale(1e-6f, 4e-5f), bias(-1.0f, 2.0f);
  for (auto& v : c.scale) v = scale(random);
  for (auto& v : c.bias) v = bias(random);
  return c;
}

int Sum(const Case& c, int image, int y, int x, int channel) {
  const Depthwise::Shape& s = c.shape;
  int sum = 0;
  for (int i = 0; i < 9; ++i) {
    const int row = y * s.stride + i / 3 - s.top, column = x * s.stride + i % 3 - s.left;
    if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
    const std::size_t at = (static_cast<std::size_t>(image * s.height + row) * s.width + column) * s.channels + channel;
    sum += c.source[at] * c.weights[static_cast<std::size_t>(channel) * 9 + i];
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 10) return 2;
  int v[9];
  for (int i = 0; i < 9; ++i) v[i] = std::atoi(argv[i + 1]);
  const int rows = (v[1] + v[4] + v[6] - 3) / v[3] + 1, columns = (v[2] + v[5] + v[7] - 3) / v[3] + 1;
  const Depthwise::Shape shape{v[0], v[1], v[2], v[3], v[4], v[5], rows, columns};
  if (!Depthwise::Supported() || !Depthwise::Fits(shape)) return 3;
  omp_set_num_threads(v[8]);
  const Case c = Random(shape);
  const Depthwise kernel(shape, c.weights.data(), c.scale.data(), c.bias.data(), kHigh, kFactor);
  std::vector<std::uint8_t> found(static_cast<std::size_t>(kImages * rows * columns * shape.channels), 99);
  kernel.RunBatch(c.source.data(), kImages, found.data());
  const auto start = std::chrono::steady_clock::now();
  kernel.RunBatch(c.source.data(), kImages, found.data());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto sum = [&](int image, int y, int x, int output) { return Sum(c, image, y, x, output); };
  const std::size_t different = Different(found, rows, columns, c.scale, c.bias, sum);
  std::printf("%zu %zu %.1f\n", found.size(), different, seconds * 1e6);
}
