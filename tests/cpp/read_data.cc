// read_data FILE START N: opens a data file of 224 x 224, reads images [START, START + N) one by one; prints the CRC-32 of
// each one's floats, of the file's first 0, 1, ... 200 bytes, then the number of images and the peak memory in bytes.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "crc32.h"
#include "data_file.h"
#include "errors.h"
#include "process_info.h"

int main(int argc, char** argv) {
  if (argc != 4) return kUsageError;
  try {
    DataFile data(argv[1], 224);
    const std::size_t start = std::strtoull(argv[2], nullptr, 10), n = std::strtoull(argv[3], nullptr, 10);
    std::vector<float> pixels(data.floats_per_image());
    for (std::size_t i = start; i < start + n; ++i) {
      data.WillRead(i + 1, 50);
      data.ReadImages(i, 1, pixels.data());
      std::printf("%08x\n", Crc32(pixels.data(), pixels.size() * sizeof(float)));
    }
    std::vector<char> head(200);
    std::ifstream(argv[1], std::ios::binary).read(head.data(), 200);
    for (std::size_t size = 0; size <= head.size(); ++size) std::printf("%08x\n", Crc32(head.data(), size));
    std::printf("%zu %lld\n", data.count(), static_cast<long long>(PeakRssBytes()));
    return 0;
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return e.code();
  }
}
