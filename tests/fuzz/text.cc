// Text that comes from files: the check of JSON, the writer of JSON, Paddle's messages.
#include "harness.h"
#include "json_check.h"
#include "json_writer.h"
#include "paddle_error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const bool json = IsJsonObject(text);
  const std::string written = JsonObject().Text("key", text).str();
  if (!IsJsonObject(written)) std::abort();  // whatever a path holds, the result must be JSON
  if (json && !IsJsonObject(JsonObject().Raw("key", text).str())) std::abort();
  if (BriefPaddleError(text).find('\n') != std::string::npos) std::abort();
  return 0;
}
