#include "json_check.h"

#include <cctype>
#include <cstring>

std::size_t Utf8Length(const std::string& text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned lead = byte(at);
  const std::size_t length = lead < 0x80   ? 1
                             : lead < 0xC2 ? 0
                             : lead < 0xE0 ? 2
                             : lead < 0xF0 ? 3
                             : lead < 0xF5 ? 4
                                           : 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
  }
  const unsigned second = byte(at + 1);
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool outside = (lead == 0xED && second > 0x9F) || (lead == 0xF4 && second > 0x8F);
  return overlong || outside ? 0 : length;
}

namespace {

constexpr int kMaxDepth = 64;  // a recursive descent must not be driven to the end of the stack

class Checker {
 public:
  explicit Checker(const std::string& text) : text_(text) {}

  bool Document() {
    Space();
    const bool object = Peek() == '{' && Value(0);
    Space();
    return object && at_ == text_.size();
  }

 private:
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool Take(char c) { return Peek() == c && at_ < text_.size() && ++at_ > 0; }
  void Space() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) && text_[at_] != '\0') ++at_;
  }
  bool Word(const char* word) {
    const std::size_t n = std::strlen(word);
    if (text_.compare(at_, n, word) != 0) return false;
    at_ += n;
    return true;
  }

  bool Value(int depth) {
    if (depth > kMaxDepth) return false;
    switch (Peek()) {
      case '{': return List('}', depth, true);
      case '[': return List(']', depth, false);
      case '"': return String();
      case 't': return Word("true");
      case 'f': return Word("false");
      case 'n': return Word("null");
      default: return Number();
    }
  }

  // An object (`keys`) or an array.
  bool List(char end, int depth, bool keys) {
    ++at_;
    Space();
    if (Take(end)) return true;
    do {
      Space();
      if (keys && !(String() && (Space(), Take(':')) && (Space(), true))) return false;
      if (!Value(depth + 1)) return false;
      Space();
    } while (Take(','));
    return Take(end);
  }

  bool String() {
    if (!Take('"')) return false;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (static_cast<unsigned char>(text_[at_]) < 0x20) return false;
      if (text_[at_] == '\\') {
        if (!Escape()) return false;
        continue;
      }
      const std::size_t length = Utf8Length(text_, at_);
      if (length == 0) return false;
      at_ += length;
    }
    return Take('"');
  }

  bool Escape() {
    ++at_;
    const char c = Peek();
    if (c == '\0' || !std::strchr("\"\\/bfnrtu", c)) return false;
    ++at_;
    for (int i = 0; c == 'u' && i < 4; ++i) {
      if (!std::isxdigit(static_cast<unsigned char>(Peek()))) return false;
      ++at_;
    }
    return true;
  }

  bool Digits() {
    const std::size_t start = at_;
    while (std::isdigit(static_cast<unsigned char>(Peek()))) ++at_;
    return at_ > start;
  }

  bool Number() {
    Take('-');
    if (!Take('0') && !Digits()) return false;
    if (Take('.') && !Digits()) return false;
    if (!Take('e') && !Take('E')) return true;
    if (!Take('+')) Take('-');
    return Digits();
  }

  const std::string& text_;
  std::size_t at_ = 0;
};

}  // namespace

bool IsJsonObject(const std::string& text) { return Checker(text).Document(); }
