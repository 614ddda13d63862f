#include "program_check.h"

#include <cstdint>
#include <fstream>
#include <iterator>

#include "errors.h"

namespace {

constexpr std::uint64_t kBlocks = 1;  // field number of ProgramDesc.blocks, Paddle's framework.proto
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Walks over the fields of a message (protobuf.dev/programming-guides/encoding) without looking into them.
class Fields {
 public:
  explicit Fields(const std::string& message) : message_(message) {}

  bool AtEnd() const { return at_ == message_.size(); }

  // Moves past one field and gives its number; 0 if there is no whole field.
  std::uint64_t Next() {
    std::uint64_t tag = 0, length = 0;
    if (!Varint(&tag)) return 0;
    switch (tag & 7) {
      case kVarint: return Varint(&length) ? tag >> 3 : 0;
      case kBytes: return Varint(&length) && Skip(length) ? tag >> 3 : 0;
      case kFixed64: return Skip(8) ? tag >> 3 : 0;
      case kFixed32: return Skip(4) ? tag >> 3 : 0;
      default: return 0;
    }
  }

 private:
  bool Skip(std::uint64_t bytes) {
    if (bytes > message_.size() - at_) return false;
    at_ += bytes;
    return true;
  }

  bool Varint(std::uint64_t* value) {
    for (int shift = 0; shift < 64 && at_ < message_.size(); shift += 7) {
      const std::uint64_t byte = static_cast<unsigned char>(message_[at_++]);
      *value |= (byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  const std::string& message_;
  std::size_t at_ = 0;
};

}  // namespace

void CheckProgramFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string message{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  Fields fields(message);
  bool whole = file.good() || file.eof(), blocks = false;
  while (whole && !fields.AtEnd()) {
    const std::uint64_t number = fields.Next();
    whole = number != 0;
    blocks = blocks || number == kBlocks;
  }
  if (whole && blocks) return;
  throw Error(kModelError, path + ": not a Paddle program, or a truncated one", "a program file (protobuf)",
              "save or copy the model again");
}
