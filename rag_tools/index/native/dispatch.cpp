#include "dispatch.h"

#include <cstdint>
#include <stdexcept>

#include "tables.h"

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace rag_tools {
namespace {

bool always() { return true; }

#if defined(__x86_64__) || defined(_M_X64)

struct Registers {
    uint32_t eax, ebx, ecx, edx;
};

// What the instruction cpuid says; zeros where the processor doesn't know the leaf.
Registers cpuid(uint32_t leaf, uint32_t subleaf) {
#if defined(_MSC_VER)
    int registers[4];
    __cpuid(registers, 0);
    if (static_cast<uint32_t>(registers[0]) < leaf) return {};
    __cpuidex(registers, static_cast<int>(leaf), static_cast<int>(subleaf));
    return {static_cast<uint32_t>(registers[0]), static_cast<uint32_t>(registers[1]),
            static_cast<uint32_t>(registers[2]), static_cast<uint32_t>(registers[3])};
#else
    Registers found = {};
    __get_cpuid_count(leaf, subleaf, &found.eax, &found.ebx, &found.ecx, &found.edx);
    return found;
#endif
}

bool bit(uint32_t word, int index) { return (word >> index & 1) != 0; }

// Which registers the operating system keeps when it switches threads.
constexpr uint64_t kYmm = 0x06, kZmm = 0xe6;

bool system_keeps(uint64_t wanted) {
    const bool osxsave = bit(cpuid(1, 0).ecx, 27);
    if (!osxsave) return false;
#if defined(_MSC_VER)
    const uint64_t kept = _xgetbv(0);
#else
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    const uint64_t kept = static_cast<uint64_t>(high) << 32 | low;
#endif
    return (kept & wanted) == wanted;
}

bool has_sse41() { return bit(cpuid(1, 0).ecx, 19); }

bool has_avx2() { return system_keeps(kYmm) && bit(cpuid(7, 0).ebx, 5); }

bool has_avxvnni() {
    // Leaf 7 says in eax how many subleaves it has.
    return has_avx2() && cpuid(7, 0).eax >= 1 && bit(cpuid(7, 1).eax, 4);
}

bool has_avx512vnni() {
    const Registers features = cpuid(7, 0);
    const bool foundation = bit(features.ebx, 16), bytes_and_words = bit(features.ebx, 30);
    return system_keeps(kZmm) && foundation && bytes_and_words && bit(features.ecx, 11);
}

#elif defined(__aarch64__)

bool has_dot_product() {
#if defined(__linux__)
    constexpr unsigned long asimddp = 1ul << 20;
    return (getauxval(AT_HWCAP) & asimddp) != 0;
#elif defined(__APPLE__)
    return true;
#else
    return false;
#endif
}

#endif

struct InstructionSet {
    const Kernel* table;
    bool (*supported)();
};

constexpr InstructionSet kInstructionSets[] = {
#if defined(__x86_64__) || defined(_M_X64)
    {&kAvx512Vnni, has_avx512vnni},
    {&kAvxVnni, has_avxvnni},
    {&kAvx2, has_avx2},
    {&kSse41, has_sse41},
#elif defined(__aarch64__)
    {&kNeon, has_dot_product},
#endif
    {&kScalar, always},
};

}  // namespace

const std::vector<const Kernel*>& supported_kernels() {
    static const std::vector<const Kernel*> supported = [] {
        std::vector<const Kernel*> kernels;
        for (const InstructionSet& each : kInstructionSets)
            if (each.table->maxsim && each.supported()) kernels.push_back(each.table);
        return kernels;
    }();
    return supported;
}

const Kernel& kernel_named(const std::string& name) {
    for (const Kernel* kernel : supported_kernels())
        if (kernel->name == name) return *kernel;
    throw std::invalid_argument("this machine and build have no kernel " + name);
}

std::vector<std::string> missing_instructions() {
    std::vector<std::string> missing;
#if defined(__x86_64__) || defined(_M_X64)
    const uint32_t features = cpuid(1, 0).ecx;
    if (!bit(features, 0)) missing.push_back("SSE3");
    if (!bit(features, 9)) missing.push_back("SSSE3");
    if (!bit(features, 19)) missing.push_back("SSE4.1");
    if (!bit(features, 20)) missing.push_back("SSE4.2");
    if (!bit(features, 23)) missing.push_back("POPCNT");
#endif
    return missing;
}

const Kernel& scalar_kernel() { return kScalar; }

}  // namespace rag_tools
