// Paddle's exceptions are pages of stack trace around one or two sentences; these are the sentences.
#pragma once

#include <string>

std::string BriefPaddleError(const std::string& what);
