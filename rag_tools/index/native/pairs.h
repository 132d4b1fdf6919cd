// Products of 16-bit numbers in pairs (pmaddwd), on registers of any width: for x86 processors
// that can't multiply bytes exactly, since pmaddubsw would saturate. A coarse query would cost as
// much as the whole one.

#pragma once

#include <string.h>

#include "stages.h"

namespace rag_tools {
namespace {

template <class Lanes>
struct Pairs : Lanes {
    using Lanes::kWidth;
    using typename Lanes::Bytes;
    using typename Lanes::Floats;
    using Element = int16_t;
    static constexpr bool kCoarse = false;
    static constexpr int kRegisterBytes = 4 * kWidth;

    static void arrange(const int16_t* rows, int padded, int groups, void* arranged,
                        int32_t* bias) {
        int16_t* out = static_cast<int16_t*>(arranged);
        for (int row = 0; row < padded; ++row) {
            for (int dim = 0; dim < groups * 4; ++dim) {
                const ptrdiff_t start =
                    (static_cast<ptrdiff_t>(row / kWidth) * groups + dim / 4) * 4 * kWidth;
                out[start + (dim % 4 / 2 * kWidth + row % kWidth) * 2 + dim % 2] =
                    rows[row * groups * 4 + dim];
            }
        }
        for (int row = 0; row < 2 * padded; ++row) bias[row] = 0;
    }

    template <int bits>
    RAG_TOOLS_INLINE static void decode(const uint8_t* codes, int packed_groups,
                                        const int8_t* values, Element* out) {
        const Bytes table = Lanes::repeat(values);
        for (int group = 0; group < packed_groups; ++group) {
            for (int shift = 0; shift < 8; shift += bits) {
                for (int part = 0; part < 64; part += kRegisterBytes) {
                    const Bytes packed = Lanes::load_bytes(codes + group * 64 + part);
                    Lanes::store_wide(out,
                                      Lanes::shuffle(table, Lanes::codes(packed, shift, bits)));
                    out += kRegisterBytes;
                }
            }
        }
    }

    static void widen(const int8_t* values, int n, Element* out, int padded) {
        for (int i = 0; i < n; ++i) out[i] = values[i];
        for (int i = n; i < padded; ++i) out[i] = 0;
    }

    struct Exact {
        static constexpr int kRegisters = 1;
        static constexpr int kTile = 8;
        struct Row {
            Bytes first, second;   // two dimensions of every lane each
        };
        using Sum = Bytes;
        RAG_TOOLS_INLINE static Sum start(const Query&, int) { return Lanes::set_integers(0); }
        RAG_TOOLS_INLINE static Row row(const Query&, const char* at) {
            return {Lanes::load_bytes(at), Lanes::load_bytes(at + kRegisterBytes)};
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            int32_t first, second;
            memcpy(&first, token, 4);
            memcpy(&second, token + 2, 4);
            Lanes::add_pairs(sum, row.first, Lanes::set_integers(first));
            Lanes::add_pairs(sum, row.second, Lanes::set_integers(second));
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int) { return Lanes::floats(sum); }
    };

    struct Cell : Exact {
        using typename Exact::Row;
        using typename Exact::Sum;
        RAG_TOOLS_INLINE static Sum start(const Tile&, int) { return Lanes::set_integers(0); }
        RAG_TOOLS_INLINE static Row row(const Tile&, const char* at) {
            // Each byte becomes the high one of 16 bits, and is shifted down with its sign.
            static constexpr int8_t first[16] = {-1, 0, -1, 1, -1, 4,  -1, 5,
                                                 -1, 8, -1, 9, -1, 12, -1, 13};
            static constexpr int8_t second[16] = {-1, 2,  -1, 3,  -1, 6,  -1, 7,
                                                  -1, 10, -1, 11, -1, 14, -1, 15};
            const Bytes bytes = Lanes::load_bytes(at);
            return {Lanes::high_bytes(Lanes::shuffle(bytes, Lanes::repeat(first))),
                    Lanes::high_bytes(Lanes::shuffle(bytes, Lanes::repeat(second)))};
        }
    };
};

}  // namespace
}  // namespace rag_tools
