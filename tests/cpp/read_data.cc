// read_data FILE START N [BATCH]: opens a data file (a raw one of 224 x 224), reads images [START, START + N) one by one,
// or BATCH at a time, of which N is a multiple; prints the CRC-32 of each one's floats, of the file's first 0, 1, ... 600
// bytes, then the number of images and the peak memory in bytes.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "crc32.h"
#include "data_file.h"
#include "errors.h"
#include "pixel_buffer.h"
#include "process_info.h"

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) return kUsageError;
  try {
    DataFile data(argv[1], 224);
    const std::size_t start = std::strtoull(argv[2], nullptr, 10), n = std::strtoull(argv[3], nullptr, 10);
    const std::size_t batch = argc == 5 ? std::strtoull(argv[4], nullptr, 10) : 1, floats = data.floats_per_image();
    PixelBuffer pixels(data, batch, false);
    for (std::size_t i = start; i < start + n; i += batch) {
      data.WillRead(i + batch, 50);
      pixels.Read(&data, i, batch);
      for (std::size_t k = 0; k < batch; ++k) {
        std::printf("%08x\n", Crc32(pixels.image(k), floats * sizeof(float)));
      }
    }
    std::vector<char> head(600);
    std::ifstream(argv[1], std::ios::binary).read(head.data(), 600);
    for (std::size_t size = 0; size <= head.size(); ++size) std::printf("%08x\n", Crc32(head.data(), size));
    std::printf("%zu %lld\n", data.count(), static_cast<long long>(PeakRssBytes()));
    return 0;
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return e.code();
  }
}
