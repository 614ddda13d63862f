// Signals end the tester with one line and no half-written result: Ctrl-C at once, with exit code 130; a crash, which
// then was one of Paddle over a damaged model or an instruction that this CPU does not have, with its cause's code.
#pragma once

#include <string>

void InstallSignalHandlers();

// The file that a signal shall remove; "" for none.
void RemoveOnSignal(const std::string& path);
