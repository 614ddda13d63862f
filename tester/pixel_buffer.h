// Images on their way into a network, [n, 3, H, W]: float32 and normalised, or uint8 as a uint8 data file has them. In
// pages of 2 MiB where the kernel has them: 30 MB are 15 of them, and 7,350 small ones.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

#include "data_file.h"

class PixelBuffer {
 public:
  PixelBuffer() = default;
  // Room for `images` of `data`; `bytes`: uint8, which only a file with levels() has.
  PixelBuffer(const DataFile& data, std::size_t images, bool bytes)
      : bytes_(bytes), image_bytes_(ImageBytes(data, bytes)) {
    const std::size_t size = images * image_bytes_, alignment = size < kHugePage ? kLine : kHugePage;
    const std::size_t whole = (size + alignment - 1) / alignment * alignment;
    pixels_.reset(static_cast<char*>(std::aligned_alloc(alignment, whole)));
    if (pixels_ == nullptr) throw std::bad_alloc();
    if (alignment == kHugePage) madvise(pixels_.get(), whole, MADV_HUGEPAGE);  // a hint: may fail
  }

  static std::size_t ImageBytes(const DataFile& data, bool bytes) {
    return data.floats_per_image() * (bytes ? 1 : sizeof(float));
  }

  // Images [start, start + n) of the file become the buffer's first.
  void Read(DataFile* data, std::size_t start, std::size_t n) {
    if (bytes_) {
      data->ReadBytes(start, n, reinterpret_cast<unsigned char*>(pixels_.get()));
    } else {
      data->ReadImages(start, n, reinterpret_cast<float*>(pixels_.get()));
    }
  }

  const void* image(std::size_t index) const { return pixels_.get() + index * image_bytes_; }

 private:
  static constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  bool bytes_ = false;
  std::size_t image_bytes_ = 0;
  std::unique_ptr<char, Free> pixels_;
};
