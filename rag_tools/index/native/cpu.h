// What this processor, and its operating system, can run.

#pragma once

namespace rag_tools {

bool cpu_has_avx512vnni();   // with the byte and word instructions
bool cpu_has_avx2();
bool cpu_has_dot_product();

}  // namespace rag_tools
