// Reads the binary data file, in both layouts; src/qat8/datafile/__init__.py documents the format.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "levels.h"

class DataFile {
 public:
  // Checks size, header, labels and trailer. `data_dim` is the images' side in a raw file, which does not say it.
  DataFile(const std::string& path, int data_dim);
  ~DataFile();
  DataFile(const DataFile&) = delete;
  DataFile& operator=(const DataFile&) = delete;

  std::size_t count() const { return count_; }
  int height() const { return static_cast<int>(height_); }
  int width() const { return static_cast<int>(width_); }
  std::size_t floats_per_image() const { return 3 * std::size_t{height_} * width_; }
  const std::vector<std::int64_t>& labels() const { return labels_; }
  std::int64_t max_label() const { return max_label_; }
  // JSON text of the preprocessing; empty in a raw file.
  const std::string& fingerprint() const { return fingerprint_; }

  // Of uint8 images, what normalises them; null where the file has float32.
  const Levels* levels() const { return uint8_ ? &levels_ : nullptr; }

  // Copies images [start, start + n) to `out` as the network takes them: float32 [n, 3, H, W].
  void ReadImages(std::size_t start, std::size_t n, float* out);
  // The same as they are in a file that has levels(): uint8 [n, 3, H, W].
  void ReadBytes(std::size_t start, std::size_t n, unsigned char* out);
  // Asks the kernel to fetch images [start, start + n), as far as there are so many, while others are worked on.
  void WillRead(std::size_t start, std::size_t n) const;

 private:
  void ReadHeader();
  void CheckFields(std::uint32_t channels, std::uint32_t dtype, std::uint64_t stated_bytes) const;
  void CheckSize() const;
  void ReadLabels();
  void MakeLevels(const std::array<float, 3>& mean, const std::array<float, 3>& std);
  void ReadAt(std::uint64_t offset, std::size_t size, void* to) const;
  void CheckImage(std::size_t index, const void* bytes);
  std::size_t image_bytes() const { return floats_per_image() * (uint8_ ? 1 : sizeof(float)); }
  [[noreturn]] void Fail(const std::string& fact, const std::string& expected) const;

  std::string path_;
  int file_ = -1;
  std::uint64_t file_bytes_ = 0;
  bool raw_ = true;
  bool uint8_ = false;
  std::uint64_t count_ = 0;
  std::uint32_t height_ = 0, width_ = 0, classes_ = 0;
  std::uint32_t labels_crc_ = 0, trailer_crc_ = 0;
  std::uint64_t images_offset_ = 8;
  std::string fingerprint_;
  std::vector<std::int64_t> labels_;
  std::int64_t max_label_ = 0;
  std::vector<std::uint32_t> image_crcs_;
  std::vector<bool> checked_;
  std::array<float, 3> mean_{}, std_{};
  Levels levels_{};
  std::vector<unsigned char> bytes_;  // one uint8 image
};
