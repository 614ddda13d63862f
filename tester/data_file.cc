#include "data_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "crc32.h"
#include "errors.h"
#include "json_check.h"
#include "normalise.h"

namespace {

constexpr char kMagic[] = "QAT8DATA";
constexpr std::uint32_t kVersion = 1, kHeaderBytes = 4088, kFixedBytes = 88, kMaxSide = 4096;
constexpr std::uint32_t kFloat32 = 1, kUint8 = 2;
// More float32 pixels at a time than this do not stay in a core's own caches until they are used.
constexpr std::size_t kCacheBytes = std::size_t{8} << 20;
constexpr char kAgain[] = "preprocess the images again";

template <typename T>
T Field(const unsigned char* header, std::size_t offset) {
  T value;
  std::memcpy(&value, header + offset, sizeof value);
  return value;
}

}  // namespace

DataFile::DataFile(const std::string& path, int data_dim) : path_(path) {
  file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // non-blocking: a FIFO must not hang here
  struct stat status {};
  if (file_ < 0 || fstat(file_, &status) != 0) {
    throw Error(kDataError, path + ": " + std::strerror(errno), "a data file", "`inv preprocess` writes one");
  }
  try {
    if (!S_ISREG(status.st_mode)) Fail("not a regular file", "a data file");
    file_bytes_ = static_cast<std::uint64_t>(status.st_size);
    height_ = width_ = static_cast<std::uint32_t>(data_dim);
    ReadHeader();
    CheckSize();
    ReadLabels();
  } catch (...) {
    close(file_);
    throw;
  }
  checked_.assign(count_, false);
  bytes_.resize(uint8_ ? image_bytes() : 0);
}

DataFile::~DataFile() { close(file_); }

void DataFile::Fail(const std::string& fact, const std::string& expected) const {
  throw Error(kDataError, path_ + ": " + fact, expected, kAgain);
}

// pread rather than a memory map: the pages of a mapped 30 GB file would count as this process's memory, and a file
// that shrinks while it is read would end it by SIGBUS.
void DataFile::ReadAt(std::uint64_t offset, std::size_t size, void* to) const {
  char* next = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t n = pread(file_, next, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail(std::string("reading failed: ") + std::strerror(errno), "a readable file");
    if (n == 0) Fail("ends at byte " + std::to_string(offset), std::to_string(size) + " bytes more");
    next += n;
    offset += static_cast<std::uint64_t>(n);
    size -= static_cast<std::size_t>(n);
  }
}

void DataFile::ReadHeader() {
  unsigned char h[kHeaderBytes];
  if (file_bytes_ < 8) Fail(std::to_string(file_bytes_) + " bytes", "a data file");
  ReadAt(0, 8, h);
  raw_ = std::memcmp(h, kMagic, 8) != 0;
  if (raw_) {
    count_ = static_cast<std::uint64_t>(std::max<std::int64_t>(Field<std::int64_t>(h, 0), 0));
    return;
  }
  if (file_bytes_ < kHeaderBytes + 8) Fail(std::to_string(file_bytes_) + " bytes", "a header of 4088 bytes and images");
  ReadAt(0, kHeaderBytes, h);
  if (Field<std::uint32_t>(h, 8) != kVersion || Field<std::uint32_t>(h, 12) != kHeaderBytes) {
    Fail("data file version " + std::to_string(Field<std::uint32_t>(h, 8)), "version 1");
  }
  if (Field<std::uint32_t>(h, kHeaderBytes - 4) != Crc32(h, kHeaderBytes - 4)) {
    Fail("the header's CRC-32 is wrong", "an undamaged file");
  }
  count_ = Field<std::uint64_t>(h, 16);
  height_ = Field<std::uint32_t>(h, 28);
  width_ = Field<std::uint32_t>(h, 32);
  uint8_ = Field<std::uint32_t>(h, 36) == kUint8;
  classes_ = Field<std::uint32_t>(h, 40);
  labels_crc_ = Field<std::uint32_t>(h, 44);
  trailer_crc_ = Field<std::uint32_t>(h, 48);
  images_offset_ = kHeaderBytes + 8;
  CheckFields(Field<std::uint32_t>(h, 24), Field<std::uint32_t>(h, 36), Field<std::uint64_t>(h, 80));
  const std::uint32_t length = Field<std::uint32_t>(h, 52);
  if (length > kHeaderBytes - kFixedBytes - 4) {
    Fail("fingerprint of " + std::to_string(length) + " bytes", "at most 3996");
  }
  fingerprint_.assign(reinterpret_cast<const char*>(h) + kFixedBytes, length);
  if (!IsJsonObject(fingerprint_)) Fail("the preprocessing fingerprint is not JSON", "a JSON object");
  MakeLevels(Field<std::array<float, 3>>(h, 56), Field<std::array<float, 3>>(h, 68));
}

void DataFile::CheckFields(std::uint32_t channels, std::uint32_t dtype, std::uint64_t stated_bytes) const {
  if (channels != 3 || (dtype != kFloat32 && dtype != kUint8) || height_ - 1 >= kMaxSide || width_ - 1 >= kMaxSide) {
    Fail(std::to_string(channels) + " channels, " + std::to_string(height_) + " x " + std::to_string(width_) +
             ", dtype " + std::to_string(dtype),
         "3 channels, sides up to 4096, dtype 1 or 2");
  }
  if (stated_bytes != file_bytes_) {
    Fail(std::to_string(file_bytes_) + " bytes", std::to_string(stated_bytes) + " as its header says");
  }
  std::uint64_t count_again = 0;
  ReadAt(kHeaderBytes, sizeof count_again, &count_again);
  if (count_again != count_) Fail("the payload's number of images is damaged", std::to_string(count_));
}

// Divides instead of multiplying: count_ is whatever the file says, up to 2^64 - 1, and a product could wrap around.
void DataFile::CheckSize() const {
  const std::uint64_t each = image_bytes() + (raw_ ? 8 : 12);
  const std::uint64_t rest = file_bytes_ - images_offset_;
  if (count_ < 1 || rest % each != 0 || rest / each != count_) {
    Fail(std::to_string(file_bytes_) + " bytes",
         std::to_string(count_) + " images of " + std::to_string(width_) + " x " + std::to_string(height_) +
             " and their labels, " + std::to_string(each) + " bytes each (truncated, or not a data file)");
  }
}

void DataFile::ReadLabels() {
  const std::uint64_t offset = images_offset_ + count_ * image_bytes();
  labels_.resize(count_);
  ReadAt(offset, count_ * 8, labels_.data());
  if (!raw_) {
    image_crcs_.resize(count_);
    ReadAt(offset + count_ * 8, count_ * 4, image_crcs_.data());
    if (Crc32(labels_.data(), count_ * 8) != labels_crc_ || Crc32(image_crcs_.data(), count_ * 4) != trailer_crc_) {
      Fail("labels or trailer are damaged (CRC-32)", "an undamaged file");
    }
  }
  // A raw file does not know the number of classes; the model does, see CheckLabels in measure.cc.
  const std::int64_t limit = raw_ ? INT64_MAX : static_cast<std::int64_t>(classes_);
  for (std::size_t i = 0; i < count_; ++i) {
    if (labels_[i] < 0 || labels_[i] >= limit) {
      Fail("image " + std::to_string(i) + " has label " + std::to_string(labels_[i]),
           raw_ ? "a class number from 0" : "0 to " + std::to_string(limit - 1));
    }
    max_label_ = std::max(max_label_, labels_[i]);
  }
}

void DataFile::MakeLevels(const std::array<float, 3>& mean, const std::array<float, 3>& std) {
  mean_ = mean;
  std_ = std;
  for (std::size_t c = 0; c < 3; ++c) {
    if (!std::isfinite(mean[c]) || !std::isfinite(std[c]) || std[c] <= 0) Fail("bad mean or std", "finite, std over 0");
    for (int u = 0; u < 256; ++u) {
      levels_[c][static_cast<std::size_t>(u)] = (static_cast<float>(u) / 255.0f - mean[c]) / std[c];
    }
  }
}

void DataFile::CheckImage(std::size_t index, const void* bytes) {
  if (raw_ || checked_[index]) return;
  if (Crc32(bytes, image_bytes()) != image_crcs_[index]) {
    Fail("image " + std::to_string(index) + " is damaged (CRC-32)", "an undamaged file");
  }
  checked_[index] = true;
}

void DataFile::WillRead(std::size_t start, std::size_t n) const {
  if (start >= count_) return;
  n = std::min<std::size_t>(n, count_ - start);
  const auto offset = static_cast<off_t>(images_offset_ + start * image_bytes());
  posix_fadvise(file_, offset, static_cast<off_t>(n * image_bytes()), POSIX_FADV_WILLNEED);  // a hint: may fail
}

void DataFile::ReadBytes(std::size_t start, std::size_t n, unsigned char* out) {
  for (std::size_t i = start; i < start + n; ++i, out += image_bytes()) {
    ReadAt(images_offset_ + i * image_bytes(), image_bytes(), out);
    CheckImage(i, out);
  }
}

void DataFile::ReadImages(std::size_t start, std::size_t n, float* out) {
  const std::size_t plane = std::size_t{height_} * width_;
  const bool past_caches = n * floats_per_image() * sizeof(float) > kCacheBytes;
  for (std::size_t i = start; i < start + n; ++i, out += 3 * plane) {
    const std::uint64_t offset = images_offset_ + i * image_bytes();
    if (!uint8_) {
      ReadAt(offset, image_bytes(), out);
      CheckImage(i, out);
      continue;
    }
    ReadAt(offset, image_bytes(), bytes_.data());
    CheckImage(i, bytes_.data());
    for (std::size_t c = 0; c < 3; ++c) {
      Normalise(bytes_.data() + c * plane, plane, mean_[c], std_[c], levels_[c], past_caches, out + c * plane);
    }
  }
  if (uint8_) FinishStores();
}
