// Writes a flat JSON object, member by member, and brings it to the disk in one step.
#pragma once

#include <string>
#include <vector>

class JsonObject {
 public:
  explicit JsonObject(const std::string& separator = ", ") : separator_(separator) {}
  JsonObject& Raw(const std::string& key, const std::string& json);  // `json` is JSON already
  JsonObject& Text(const std::string& key, const std::string& value);
  JsonObject& Integer(const std::string& key, long long value);
  JsonObject& Real(const std::string& key, double value);

  std::string str() const { return "{" + body_ + "}"; }

 private:
  std::string separator_;
  std::string body_;
};

std::string JsonReal(double value);
std::string JsonArray(const std::vector<double>& values);
std::string JsonArray(const std::vector<int>& values);

// Writes a temporary file beside `path`, syncs it and renames it: `path` holds the old text or the new one, never half.
void WriteFileAtomically(const std::string& path, const std::string& text);

// A result that cannot be written is an error before the measurement, not after it; `flag` is the one that named it.
void CheckWritable(const std::string& flag, const std::string& path);
