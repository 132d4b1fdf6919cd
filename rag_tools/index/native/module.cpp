// What Python sees: rag_tools.index._native, described in _native.pyi.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "dispatch.h"
#include "search.h"

namespace nb = nanobind;
using namespace rag_tools;

namespace {

template <class T, int N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <int N>
using Out = nb::ndarray<nb::numpy, float, nb::ndim<N>>;

std::vector<std::string> available() {
    std::vector<std::string> names;
    for (const Kernel* kernel : supported_kernels()) names.push_back(kernel->name);
    return names;
}

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

template <int N>
Out<N> owned(std::unique_ptr<float[]> data, std::initializer_list<size_t> shape) {
    float* raw = data.release();
    nb::capsule owner(raw, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    return Out<N>(raw, shape, owner);
}

std::unique_ptr<float[]> floats(size_t n) { return std::unique_ptr<float[]>(new float[n]); }

Vectors vectors_of(const In<float, 2>& vectors, size_t dim) {
    require(vectors.shape(1) == dim, "the query and the codebook differ in dimensions");
    require(dim >= 1 && dim <= kMaxDim, "embeddings have 1 to 1024 dimensions");
    return {vectors.data(), static_cast<int>(vectors.shape(0)), static_cast<int>(dim)};
}

// Holds on to the arrays of a codebook.
struct NativeCodebook {
    NativeCodebook(In<int8_t, 2> quantized, In<float, 1> scales, In<int8_t, 2> values,
                   In<float, 1> steps, int bits)
        : quantized(quantized), scales(scales), values(values), steps(steps), bits(bits) {
        require(scales.shape(0) == quantized.shape(0), "one scale for each centroid");
        require(steps.shape(0) == quantized.shape(1), "one step for each dimension");
        require(values.shape(0) == 2 && values.shape(1) == kValues, "two tables of 16 values");
        require(bits == 4 || bits == 2 || bits == 1, "4, 2 or 1 bits");
    }

    Centroids centroids() const {
        return {quantized.data(), scales.data(), static_cast<int64_t>(quantized.shape(0)),
                static_cast<int>(quantized.shape(1))};
    }

    // Called with the GIL held: one thread makes the copy.
    const TiledCentroids& tiled() {
        if (!tiles) tiles = std::make_unique<TiledCentroids>(centroids());
        return *tiles;
    }

    In<int8_t, 2> quantized;
    In<float, 1> scales;
    In<int8_t, 2> values;
    In<float, 1> steps;
    int bits;
    std::unique_ptr<TiledCentroids> tiles;
};

// Numbers in as few bits as they take.
using AnyUnsigned = nb::ndarray<nb::ndim<1>, nb::ro, nb::c_contig, nb::device::cpu>;

bool is_wide(const AnyUnsigned& numbers) {
    const bool wide = numbers.dtype() == nb::dtype<uint32_t>();
    require(wide || numbers.dtype() == nb::dtype<uint16_t>(), "numbers are uint16 or uint32");
    return wide;
}

// Holds on to the arrays of a segment.
struct NativeSegment {
    NativeSegment(nb::object codebook, In<int64_t, 1> token_offsets,
                  AnyUnsigned centroids, In<uint8_t, 3> codes, In<uint8_t, 1> gains,
                  In<uint16_t, 1> inverse_norms, In<uint32_t, 1> cells,
                  In<uint32_t, 1> cell_offsets, AnyUnsigned cell_passages)
        : owner(codebook), codebook(nb::cast<const NativeCodebook*>(codebook)),
          token_offsets(token_offsets), tokens_centroids(centroids), codes(codes), gains(gains),
          inverse_norms(inverse_norms), cells(cells), cell_offsets(cell_offsets),
          cell_passages(cell_passages) {
        const size_t n_tokens = centroids.shape(0);
        layout = CodeLayout::of(static_cast<int>(this->codebook->quantized.shape(1)),
                                this->codebook->bits);
        wide = is_wide(centroids);
        wide_postings = is_wide(cell_passages);
        require(token_offsets.shape(0) >= 1, "token offsets have an end");
        require(gains.shape(0) == n_tokens, "one gain for each token");
        require(inverse_norms.shape(0) == n_tokens, "one inverse norm for each token");
        require(codes.shape(0) * kBlockTokens >= n_tokens, "every token has codes");
        require(codes.shape(1) == static_cast<size_t>(layout.groups) && codes.shape(2) == 64,
                "codes are laid out for the codebook's dimensions and bits");
        require(cell_offsets.shape(0) == cells.shape(0) + 1, "cell offsets have an end");
    }

    Segment segment() const {
        return {{codes.data(), tokens_centroids.data(), gains.data(), inverse_norms.data(),
                 codebook->values.data(), layout, wide},
                codebook->steps.data(),
                token_offsets.data(),
                static_cast<int64_t>(token_offsets.shape(0)) - 1,
                static_cast<int64_t>(tokens_centroids.shape(0))};
    }

    // Called with the GIL held: one thread makes the directory.
    Postings postings() {
        if (!directory)
            directory = std::make_unique<CellDirectory>(
                cells.data(), static_cast<int64_t>(cells.shape(0)),
                static_cast<int64_t>(codebook->quantized.shape(0)));
        return {directory.get(), cell_offsets.data(), cell_passages.data(),
                static_cast<int64_t>(cell_passages.shape(0)), wide_postings};
    }

    nb::object owner;
    const NativeCodebook* codebook;
    In<int64_t, 1> token_offsets;
    AnyUnsigned tokens_centroids;
    In<uint8_t, 3> codes;
    In<uint8_t, 1> gains;
    In<uint16_t, 1> inverse_norms;
    In<uint32_t, 1> cells, cell_offsets;
    AnyUnsigned cell_passages;
    CodeLayout layout;
    std::unique_ptr<CellDirectory> directory;
    bool wide, wide_postings;
};

// Places are rows of two: Place has the same layout.
static_assert(sizeof(Place) == 2 * sizeof(int64_t));
const Place* places_of(const In<int64_t, 2>& places) {
    require(places.shape(1) == 2, "a place is a segment and a position");
    return reinterpret_cast<const Place*>(places.data());
}

// One instruction set.
class NativeKernel {
  public:
    explicit NativeKernel(const std::string& name) : kernel_(&kernel_named(name)) {}

    std::string name() const { return kernel_->name; }

    Out<2> centroid_scores(const NativeCodebook& codebook, In<float, 2> vectors,
                           int threads) const {
        const Vectors query = vectors_of(vectors, codebook.quantized.shape(1));
        const Centroids centroids = codebook.centroids();
        const size_t n = static_cast<size_t>(centroids.n);
        auto scores = floats(query.n * n);
        {
            nb::gil_scoped_release released;
            rag_tools::centroid_scores(*kernel_, query, centroids, threads, scores.get());
        }
        return owned<2>(std::move(scores), {static_cast<size_t>(query.n), n});
    }

    nb::ndarray<nb::numpy, int64_t, nb::ndim<2>> gather(
        NativeCodebook& codebook, In<float, 2> vectors, In<float, 1> weights,
        In<int64_t, 1> sizes, nb::list segments, nb::list selected, In<int64_t, 2> boosted,
        In<float, 1> boosts, int64_t reach, int64_t wanted, int threads) const {
        const Vectors query = vectors_of(vectors, codebook.quantized.shape(1));
        require(weights.shape(0) == vectors.shape(0), "one weight for each query token");
        require(sizes.shape(0) == codebook.quantized.shape(0), "one size for each cell");
        require(boosts.shape(0) == boosted.shape(0), "one boost for each place");
        require(selected.size() == segments.size(), "one bitmap for each segment");
        Cells cells = {&codebook.tiled(), sizes.data(), {}, {}, {}};
        for (size_t i = 0; i < segments.size(); ++i) {
            auto* segment = nb::cast<NativeSegment*>(segments[i]);
            const auto bitmap = nb::cast<In<bool, 1>>(selected[i], false);
            require(bitmap.shape(0) + 1 == segment->token_offsets.shape(0),
                    "one bit for each passage");
            cells.postings.push_back(segment->postings());
            cells.selected.push_back(reinterpret_cast<const uint8_t*>(bitmap.data()));
            cells.n_passages.push_back(static_cast<int64_t>(bitmap.shape(0)));
        }
        const Place* places = places_of(boosted);
        std::vector<Place> found;
        {
            nb::gil_scoped_release released;
            found = rag_tools::gather(*kernel_, query, weights.data(), cells, places,
                                      boosts.data(), static_cast<int64_t>(boosts.shape(0)), reach,
                                      wanted, threads);
        }
        std::unique_ptr<int64_t[]> rows(new int64_t[2 * found.size()]);
        for (size_t i = 0; i < found.size(); ++i) {
            rows[2 * i] = found[i].segment;
            rows[2 * i + 1] = found[i].position;
        }
        int64_t* raw = rows.release();
        nb::capsule owner(raw, [](void* p) noexcept { delete[] static_cast<int64_t*>(p); });
        return {raw, {found.size(), 2}, owner};
    }

    Out<1> refine(nb::list segments, In<float, 2> vectors, In<float, 1> weights,
                  In<int64_t, 2> places, In<double, 1> priors, int64_t limit, double slack,
                  int threads) const {
        require(weights.shape(0) == vectors.shape(0), "one weight for each query token");
        require(priors.shape(0) == places.shape(0), "one prior for each place");
        require(limit >= 1, "a limit is positive");
        const Place* wanted = places_of(places);
        const size_t n = places.shape(0);
        auto scores = floats(n);
        if (segments.size() == 0) {
            require(n == 0, "places are in segments");
            return owned<1>(std::move(scores), {n});
        }
        std::vector<Segment> arrays;
        const NativeCodebook* codebook = nb::cast<const NativeSegment*>(segments[0])->codebook;
        for (size_t i = 0; i < segments.size(); ++i) {
            const auto* segment = nb::cast<const NativeSegment*>(segments[i]);
            require(segment->codebook->quantized.data() == codebook->quantized.data(),
                    "segments share a codebook");
            arrays.push_back(segment->segment());
        }
        const Vectors query = vectors_of(vectors, codebook->quantized.shape(1));
        {
            nb::gil_scoped_release released;
            rag_tools::refine(*kernel_, query, weights.data(), codebook->centroids(), arrays,
                              wanted, priors.data(), static_cast<int64_t>(n), limit, slack,
                              threads, scores.get());
        }
        return owned<1>(std::move(scores), {n});
    }

    Out<2> similarities(const NativeSegment& segment, In<float, 2> vectors,
                        int64_t position) const {
        const Vectors query = vectors_of(vectors, segment.codebook->quantized.shape(1));
        const Segment arrays = segment.segment();
        require(position >= 0 && position < arrays.n_passages, "no passage has this position");
        const int64_t n = arrays.token_offsets[position + 1] - arrays.token_offsets[position];
        require(n >= 0 && n <= arrays.n_tokens, "a passage's tokens aren't in the segment");
        auto grid = floats(query.n * static_cast<size_t>(n));
        {
            nb::gil_scoped_release released;
            rag_tools::similarities(*kernel_, query, segment.codebook->centroids(), arrays,
                                    position, grid.get());
        }
        return owned<2>(std::move(grid), {static_cast<size_t>(query.n), static_cast<size_t>(n)});
    }

  private:
    const Kernel* kernel_;
};

}  // namespace

void add_compress(nb::module_& m);   // module_compress.cpp
void add_lexical(nb::module_& m);    // module_lexical.cpp

NB_MODULE(_native, m) {
    add_compress(m);
    add_lexical(m);
    // Arguments must have the right type already: converting would copy a mapped file.
    m.def("available", &available);
    m.def("missing_instructions", &missing_instructions);
    nb::class_<NativeCodebook>(m, "Codebook")
        .def(nb::init<In<int8_t, 2>, In<float, 1>, In<int8_t, 2>, In<float, 1>, int>(),
             nb::arg("quantized").noconvert(), nb::arg("scales").noconvert(),
             nb::arg("values").noconvert(), nb::arg("steps").noconvert(), nb::arg("bits"));
    nb::class_<NativeSegment>(m, "Segment")
        .def(nb::init<nb::object, In<int64_t, 1>, AnyUnsigned, In<uint8_t, 3>, In<uint8_t, 1>,
                      In<uint16_t, 1>, In<uint32_t, 1>, In<uint32_t, 1>, AnyUnsigned>(),
             nb::arg("codebook"), nb::arg("token_offsets").noconvert(),
             nb::arg("centroids").noconvert(), nb::arg("codes").noconvert(),
             nb::arg("gains").noconvert(), nb::arg("inverse_norms").noconvert(),
             nb::arg("cells").noconvert(),
             nb::arg("cell_offsets").noconvert(), nb::arg("cell_passages").noconvert());
    nb::class_<NativeKernel>(m, "Kernel")
        .def(nb::init<const std::string&>(), nb::arg("name"))
        .def_prop_ro("name", &NativeKernel::name)
        .def("centroid_scores", &NativeKernel::centroid_scores, nb::arg("codebook"),
             nb::arg("vectors").noconvert(), nb::arg("threads"))
        .def("gather", &NativeKernel::gather, nb::arg("codebook"), nb::arg("vectors").noconvert(),
             nb::arg("weights").noconvert(), nb::arg("sizes").noconvert(), nb::arg("segments"),
             nb::arg("selected"), nb::arg("boosted").noconvert(), nb::arg("boosts").noconvert(),
             nb::arg("reach"), nb::arg("wanted"), nb::arg("threads"))
        .def("refine", &NativeKernel::refine, nb::arg("segments"), nb::arg("vectors").noconvert(),
             nb::arg("weights").noconvert(), nb::arg("places").noconvert(),
             nb::arg("priors").noconvert(), nb::arg("limit"), nb::arg("slack"),
             nb::arg("threads"))
        .def("similarities", &NativeKernel::similarities, nb::arg("segment"),
             nb::arg("vectors").noconvert(), nb::arg("position"));
}
