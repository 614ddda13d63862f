// dump_data FILE DATA_DIM: prints what the C++ reader makes of a data file, for comparison with the Python reader:
// a line "count height width fingerprint", then per image its label and the bits of every float32 in hexadecimal.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "data_file.h"
#include "errors.h"

int main(int argc, char** argv) {
  if (argc != 3) return kUsageError;
  try {
    DataFile data(argv[1], std::atoi(argv[2]));
    std::printf("%zu %d %d %s\n", data.count(), data.height(), data.width(), data.fingerprint().c_str());
    std::vector<float> pixels(data.count() * data.floats_per_image());
    data.ReadImages(0, data.count(), pixels.data());
    for (std::size_t i = 0; i < data.count(); ++i) {
      std::printf("%lld", static_cast<long long>(data.labels()[i]));
      for (std::size_t k = 0; k < data.floats_per_image(); ++k) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, &pixels[i * data.floats_per_image() + k], sizeof bits);
        std::printf(" %08x", bits);
      }
      std::printf("\n");
    }
    return 0;
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return e.code();
  }
}
