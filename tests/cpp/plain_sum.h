// What the engine's own convolutions are compared with: the plain sum, scaled, cut and rounded step by step.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

constexpr float kHigh = 6.0f, kFactor = 255 / 5.9f;

inline int Expected(int sum, float scale, float bias) {
  const float scaled = static_cast<float>(sum) * scale;
  const float value = std::min(scaled + bias, kHigh);
  return std::clamp(static_cast<int>(std::nearbyint(value * kFactor)), 0, 255);
}

// How many of `found`, uint8 [images][height][width][outputs], are not what `sum(image, y, x, output)` says.
template <typename Sum>
std::size_t Different(const std::vector<std::uint8_t>& found, int height, int width, const std::vector<float>& scale,
                      const std::vector<float>& bias, const Sum& sum) {
  std::size_t different = 0;
  const std::size_t outputs = scale.size();
  for (std::size_t at = 0; at < found.size(); ++at) {
    const std::size_t output = at % outputs, pixel = at / outputs;
    const int x = static_cast<int>(pixel % width), y = static_cast<int>(pixel / width % height);
    const int image = static_cast<int>(pixel / width / height);
    different += found[at] != Expected(sum(image, y, x, static_cast<int>(output)), scale[output], bias[output]);
  }
  return different;
}
