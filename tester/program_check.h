// Paddle 2.6.2 does not survive a program file that is not a protobuf message: it follows a null pointer. So truncated
// files, and files that are something else, are found here first.
#pragma once

#include <string>

// Throws unless `path` holds a whole protobuf message of at least one block, as a ProgramDesc is.
void CheckProgramFile(const std::string& path);
