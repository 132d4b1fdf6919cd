// Which kernels this build has and this processor can run. Everything here, the checks of the
// processor included, is compiled for the baseline of the architecture: no function of an
// instruction set can be reached but through a kernel that `supported_kernels` returned.

#pragma once

#include <string>
#include <vector>

#include "kernel.h"

namespace rag_tools {

// The kernels that can run here, fastest first. The last one, in plain C++, always can.
const std::vector<const Kernel*>& supported_kernels();

// One of them by its name; throws std::invalid_argument if there is none.
const Kernel& kernel_named(const std::string& name);

// What the second level of x86-64 has and this processor lacks, by name; empty elsewhere. No kernel
// needs them, but Python packages do.
std::vector<std::string> missing_instructions();

// The kernel in plain C++.
const Kernel& scalar_kernel();

}  // namespace rag_tools
