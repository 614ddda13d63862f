#include "json_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "errors.h"
#include "json_check.h"
#include "signals.h"

namespace {

// Bytes that are not UTF-8 (a path may hold any) become U+FFFD, as Python's decode(errors="replace") does.
std::string Quote(const std::string& text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    const std::size_t length = Utf8Length(text, i);
    if (c == '"' || c == '\\') {
      out += {'\\', text[i]};
    } else if (c < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      out += escape;
    } else if (length == 0) {
      out += "\xEF\xBF\xBD";
    } else {
      out.append(text, i, length);
    }
    i += length == 0 ? 1 : length;
  }
  return out + '"';
}

template <typename T, typename Format>
std::string Array(const std::vector<T>& values, Format format) {
  std::string out = "[";
  for (std::size_t i = 0; i < values.size(); ++i) out += (i ? ", " : "") + format(values[i]);
  return out + "]";
}

[[noreturn]] void Fail(const std::string& path, int error) {
  throw Error(kMachineError, path + ": " + std::strerror(error), "", "make room or name another place, then run again");
}

}  // namespace

JsonObject& JsonObject::Raw(const std::string& key, const std::string& json) {
  body_ += (body_.empty() ? "" : separator_) + Quote(key) + ": " + json;
  return *this;
}

JsonObject& JsonObject::Text(const std::string& key, const std::string& value) { return Raw(key, Quote(value)); }
JsonObject& JsonObject::Integer(const std::string& key, long long value) { return Raw(key, std::to_string(value)); }
JsonObject& JsonObject::Real(const std::string& key, double value) { return Raw(key, JsonReal(value)); }

// 17 significant digits give every double back exactly. No locale is ever set, so the point is a point.
std::string JsonReal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

std::string JsonArray(const std::vector<double>& values) { return Array(values, JsonReal); }
std::string JsonArray(const std::vector<int>& values) {
  return Array(values, [](int v) { return std::to_string(v); });
}

void CheckWritable(const std::string& flag, const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string dir = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  struct stat status {};
  if (stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
    throw Error(kUsageError, flag + ": " + path + " is a directory", "a file's name");
  }
  if (stat(dir.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    throw Error(kUsageError, flag + ": there is no directory " + dir, "a file in an existing directory");
  }
  if (access(dir.c_str(), W_OK) != 0) Fail(dir, errno);
}

void WriteFileAtomically(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp." + std::to_string(getpid());
  RemoveOnSignal(temporary);
  const int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) Fail(temporary, errno);
  std::size_t done = 0;
  int error = 0;
  while (done < text.size() && error == 0) {
    const ssize_t n = write(file, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) error = errno;
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  if (error == 0 && fsync(file) != 0) error = errno;
  if (close(file) != 0 && error == 0) error = errno;
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    unlink(temporary.c_str());
    Fail(path, error);
  }
  RemoveOnSignal("");
}
