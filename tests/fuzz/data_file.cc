// The reader of data files: opened, and every image read.
#include "data_file.h"

#include <algorithm>
#include <vector>

#include "harness.h"

namespace {

constexpr std::size_t kHeader = 4088, kImages = 4096;

std::size_t ImageBytes(const std::uint8_t* d) {
  return 3 * std::size_t{Get<std::uint32_t>(d, 28)} * Get<std::uint32_t>(d, 32) *
         (Get<std::uint32_t>(d, 36) == 2 ? 1 : 4);
}

// Makes sizes and sums right, as somebody would who makes a hostile file, so that what lies behind them is reached.
void Seal(std::uint8_t* d, std::size_t size, unsigned how) {
  if (size < kImages || std::memcmp(d, "QAT8DATA", 8) != 0) return;
  const std::uint64_t each = ImageBytes(d) + 12, rest = size - kImages;
  if ((how & 1) && each != 0) Put<std::uint64_t>(d, 16, rest / each);
  const auto count = Get<std::uint64_t>(d, 16);
  if (how & 2) Put(d, kHeader, count);
  if (how & 4) Put<std::uint64_t>(d, 80, size);
  if (count > 0 && rest % each == 0 && rest / each == count) {
    std::uint8_t* const labels = d + kImages + count * ImageBytes(d);
    std::uint8_t* const sums = labels + count * 8;
    for (std::uint64_t i = 0; (how & 8) && i < count; ++i) {
      Put(sums, i * 4, Crc32(d + kImages + i * ImageBytes(d), ImageBytes(d)));
    }
    Put(d, 44, Crc32(labels, count * 8));
    Put(d, 48, Crc32(sums, count * 4));
  }
  Put(d, kHeader - 4, Crc32(d, kHeader - 4));
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, most);
  if (seed % 16 != 0) Seal(data, size, seed / 16 % 8 == 0 ? seed / 128 : 15);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static MemoryFile memory;
  Expect(kDataError, [&] {
    DataFile file(memory.Holding(data, size), 8);
    std::vector<float> image(file.floats_per_image());
    file.WillRead(0, file.count());
    for (std::size_t i = 0; i < file.count(); ++i) file.ReadImages(i, 1, image.data());
    for (std::size_t i = 0; i < file.count() && file.levels() != nullptr; ++i) {
      file.ReadBytes(i, 1, reinterpret_cast<unsigned char*>(image.data()));
    }
    if (file.max_label() < 0 || file.labels().size() != file.count()) std::abort();
  });
  return 0;
}
