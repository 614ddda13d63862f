#include "paddle_error.h"

#include <sstream>

namespace {

constexpr std::size_t kMaxLength = 400;

std::string Trim(const std::string& line) {
  const std::size_t first = line.find_first_not_of(" \t\r");
  return first == std::string::npos ? "" : line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

bool IsRule(const std::string& line) { return line.find_first_not_of('-') == std::string::npos; }

}  // namespace

// The text is: a C++ traceback, a line "Error Message Summary:" between rules, then "KindError: sentence." and often
// "  [Hint: sentence.] (at /paddle/file.cc:123)". Without a summary the first line says it.
std::string BriefPaddleError(const std::string& what) {
  const std::string title = "Error Message Summary:";
  const std::size_t summary = what.find(title);
  std::istringstream lines(summary == std::string::npos ? what : what.substr(summary + title.size()));
  std::string brief;
  for (std::string line; std::getline(lines, line);) {
    line = Trim(line);
    const bool hint = line.rfind("[Hint:", 0) == 0;
    if (IsRule(line) || (!brief.empty() && !hint)) continue;
    const std::size_t place = line.rfind(" (at /");
    brief += (hint && !brief.empty() ? " " : "") + line.substr(0, place);
    if (hint) break;
  }
  if (brief.size() > kMaxLength) brief = brief.substr(0, kMaxLength) + "...";
  return brief.empty() ? "Paddle gave no reason" : brief;
}
