// Is this text one JSON object (RFC 8259, in valid UTF-8)? A data file's fingerprint is copied into the result as it
// stands, and a damaged or hostile one must not spoil the result.
#pragma once

#include <cstddef>
#include <string>

bool IsJsonObject(const std::string& text);

// Bytes of the UTF-8 character that starts at text[at]; 0 if none does (RFC 3629: no overlong forms, no surrogates).
std::size_t Utf8Length(const std::string& text, std::size_t at);
