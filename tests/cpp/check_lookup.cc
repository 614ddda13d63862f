// Compares the engine's table lookup of uint8 images with normalising and quantizing them, for every number of pixels up
// to 400:   check_lookup MEAN STD FACTOR int8|uint8   ->  "BYTES DIFFERENT"
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "engine/convert.h"

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const float mean = std::strtof(argv[1], nullptr), std = std::strtof(argv[2], nullptr);
  const float factor = std::strtof(argv[3], nullptr);
  const Type type = std::strcmp(argv[4], "int8") == 0 ? Type::kInt8 : Type::kUint8;
  Levels levels;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t u = 0; u < 256; ++u) {
      levels[c][u] = (static_cast<float>(u) / 255.0f - mean - 0.01f * static_cast<float>(c)) / std;
    }
  }
  const ByteTable table = QuantizedLevels(levels, factor, type);
  std::mt19937 random(3);
  std::size_t bytes = 0, different = 0;
  for (std::size_t pixels = 1; pixels <= 400; ++pixels) {
    std::vector<std::uint8_t> planes(3 * pixels), got(3 * pixels + 1, 99), wanted(3 * pixels);
    std::vector<float> normalised(3 * pixels);
    for (std::size_t i = 0; i < planes.size(); ++i) {
      planes[i] = static_cast<std::uint8_t>(random());
      normalised[i] = levels[i / pixels][planes[i]];
    }
    LookUpImage(planes.data(), pixels, table, got.data());
    QuantizeImage(normalised.data(), pixels, factor, type, wanted.data());
    different += got.back() != 99;  // written past the end
    for (std::size_t i = 0; i < wanted.size(); ++i) different += got[i] != wanted[i];
    bytes += wanted.size();
  }
  std::printf("%zu %zu\n", bytes, different);
}
