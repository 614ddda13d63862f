// A failure that a user can cause; the cause is the exit code. The codes are those of src/qat8/errors.py, so that a
// caller need not know which of the two testers it ran (tests/cpp holds the two lists together).
#pragma once

#include <exception>
#include <string>

enum ExitCode {
  kQatError = 1,
  kUsageError = 2,
  kDataError = 3,
  kModelError = 4,
  kMachineError = 5,
  kStageError = 6,
  kVerificationError = 7,
  kBusyError = 8,
  kHungUp = 129,
  kInterrupted = 130,
  kTerminated = 143,
};

// What is the case, what was expected, what to do next: printed as one line on stderr.
class Error : public std::exception {
 public:
  Error(ExitCode code, const std::string& fact, const std::string& expected = "", const std::string& next = "")
      : code_(code), line_(fact) {
    if (!expected.empty()) line_ += "; expected " + expected;
    if (!next.empty()) line_ += "; next: " + next;
  }

  const char* what() const noexcept override { return line_.c_str(); }
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
  std::string line_;
};
