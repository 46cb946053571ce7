// The text of an instruction, the same as in the listings that target/isa/program.py prints.
#pragma once
#include <string>

#include "program/program.h"

namespace microscopiq {

std::string Text(const Operation& operation);
// ", loops i0=.., i1=.." for an error; empty outside of loops.
std::string CountersText(const int64_t* counters, size_t depth);

// One line per instruction: byte offset and text, loops indented.
std::string Listing(const Function& function);

}  // namespace microscopiq
