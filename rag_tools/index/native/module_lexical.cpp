// What Python sees of the lexical postings: rag_tools.index._native, described in _native.pyi.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "lexical.h"

namespace nb = nanobind;
using namespace rag_tools;

namespace {

template <class T>
using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using AnyUnsigned = nb::ndarray<nb::ndim<1>, nb::ro, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<N>>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

Numbers numbers(const AnyUnsigned& array) {
    const auto type = array.dtype();
    const int bytes = type == nb::dtype<uint8_t>()    ? 1
                      : type == nb::dtype<uint16_t>() ? 2
                                                      : 4;
    require(bytes < 4 || type == nb::dtype<uint32_t>(), "numbers are uint8, uint16 or uint32");
    return {array.data(), static_cast<int64_t>(array.shape(0)), bytes};
}

// Holds on to the arrays of a segment's postings.
struct NativePostings {
    NativePostings(In<uint8_t> terms, In<uint32_t> term_offsets, In<uint32_t> posting_offsets,
                   In<uint32_t> block_offsets, In<uint32_t> block_last, In<uint32_t> block_places,
                   In<uint32_t> block_frequency, In<float> block_ratio, AnyUnsigned passages,
                   AnyUnsigned frequencies, AnyUnsigned places, AnyUnsigned lengths)
        : terms(terms), term_offsets(term_offsets), posting_offsets(posting_offsets),
          block_offsets(block_offsets), block_last(block_last), block_places(block_places),
          block_frequency(block_frequency), block_ratio(block_ratio), passages(passages),
          frequencies(frequencies), places(places), lengths(lengths) {
        const size_t ends = term_offsets.shape(0), n_blocks = block_last.shape(0);
        require(ends >= 1, "term offsets have an end");
        require(posting_offsets.shape(0) == ends && block_offsets.shape(0) == ends,
                "every term has postings and blocks");
        require(block_places.shape(0) == n_blocks && block_frequency.shape(0) == n_blocks &&
                    block_ratio.shape(0) == n_blocks,
                "every block has its bounds");
        require(passages.shape(0) == frequencies.shape(0), "one frequency for each posting");
        postings = {terms.data(),
                    static_cast<int64_t>(terms.shape(0)),
                    term_offsets.data(),
                    posting_offsets.data(),
                    block_offsets.data(),
                    static_cast<int64_t>(ends) - 1,
                    block_last.data(),
                    block_places.data(),
                    block_frequency.data(),
                    block_ratio.data(),
                    static_cast<int64_t>(n_blocks),
                    numbers(passages),
                    numbers(frequencies),
                    numbers(places),
                    numbers(lengths)};
    }

    In<uint8_t> terms;
    In<uint32_t> term_offsets, posting_offsets, block_offsets;
    In<uint32_t> block_last, block_places, block_frequency;
    In<float> block_ratio;
    AnyUnsigned passages, frequencies, places, lengths;
    LexicalPostings postings;
};

// Bitmaps of the segments, None where every passage is marked.
struct Bitmaps {
    Bitmaps(nb::list given, const std::vector<int64_t>& sizes) {
        require(given.size() == sizes.size(), "one bitmap for each segment");
        for (size_t i = 0; i < given.size(); ++i) {
            if (nb::object(given[i]).is_none()) {
                marks.push_back(nullptr);
                continue;
            }
            auto bitmap = nb::cast<In<bool>>(given[i], false);
            require(static_cast<int64_t>(bitmap.shape(0)) == sizes[i], "one bit for each passage");
            marks.push_back(reinterpret_cast<const uint8_t*>(bitmap.data()));
            held.push_back(std::move(bitmap));
        }
    }
    std::vector<In<bool>> held;
    std::vector<const uint8_t*> marks;
};

class NativeLists {
  public:
    NativeLists(nb::list segments, nb::list phrases) : owner_(segments) {
        std::vector<LexicalPostings> arrays;
        for (size_t i = 0; i < segments.size(); ++i) {
            arrays.push_back(nb::cast<const NativePostings*>(segments[i])->postings);
            sizes_.push_back(arrays.back().lengths.n);
        }
        std::vector<Phrase> wanted;
        for (size_t i = 0; i < phrases.size(); ++i) {
            const auto terms = nb::cast<nb::list>(phrases[i]);
            require(terms.size() >= 1, "a phrase has terms");
            Phrase phrase;
            for (size_t j = 0; j < terms.size(); ++j) {
                const auto term = nb::cast<nb::bytes>(terms[j]);
                phrase.emplace_back(term.c_str(), term.size());
            }
            wanted.push_back(std::move(phrase));
        }
        nb::gil_scoped_release released;
        n_phrases_ = static_cast<int64_t>(wanted.size());
        lists_ = std::make_unique<TermLists>(std::move(arrays), wanted);
    }

    std::vector<int64_t> counts(nb::list live) const {
        const Bitmaps bitmaps(live, sizes_);
        nb::gil_scoped_release released;
        return lists_->counts(bitmaps.marks);
    }

    std::pair<Out<int64_t, 2>, Out<double, 1>> best(const std::vector<int64_t>& numbers,
                                                    const std::vector<double>& weights,
                                                    double mean, nb::list selected,
                                                    int64_t limit) const {
        const Bitmaps bitmaps(selected, sizes_);
        require(limit >= 1, "a limit is positive");
        require(numbers.size() == weights.size(), "one weight for each phrase");
        for (int64_t number : numbers)
            require(number >= 0 && number < n_phrases_, "no phrase has this number");
        for (const uint8_t* marks : bitmaps.marks) require(marks, "passages are selected by bits");
        std::vector<TermLists::Found> found;
        {
            nb::gil_scoped_release released;
            found = lists_->best(numbers, weights, mean, bitmaps.marks, limit);
        }
        std::unique_ptr<int64_t[]> places(new int64_t[2 * found.size() + 1]);
        std::unique_ptr<double[]> scores(new double[found.size() + 1]);
        for (size_t i = 0; i < found.size(); ++i) {
            places[2 * i] = found[i].place.segment;
            places[2 * i + 1] = found[i].place.position;
            scores[i] = found[i].score;
        }
        int64_t* raw_places = places.release();
        nb::capsule places_owner(raw_places,
                                 [](void* p) noexcept { delete[] static_cast<int64_t*>(p); });
        double* raw_scores = scores.release();
        nb::capsule scores_owner(raw_scores,
                                 [](void* p) noexcept { delete[] static_cast<double*>(p); });
        return {Out<int64_t, 2>(raw_places, {found.size(), 2}, places_owner),
                Out<double, 1>(raw_scores, {found.size()}, scores_owner)};
    }

  private:
    nb::list owner_;
    std::vector<int64_t> sizes_;
    int64_t n_phrases_;
    std::unique_ptr<TermLists> lists_;
};

}  // namespace

void add_lexical(nb::module_& m) {
    nb::class_<NativePostings>(m, "Postings")
        .def(nb::init<In<uint8_t>, In<uint32_t>, In<uint32_t>, In<uint32_t>, In<uint32_t>,
                      In<uint32_t>, In<uint32_t>, In<float>, AnyUnsigned, AnyUnsigned, AnyUnsigned,
                      AnyUnsigned>(),
             nb::arg("terms").noconvert(), nb::arg("term_offsets").noconvert(),
             nb::arg("posting_offsets").noconvert(), nb::arg("block_offsets").noconvert(),
             nb::arg("block_last").noconvert(), nb::arg("block_places").noconvert(),
             nb::arg("block_frequency").noconvert(), nb::arg("block_ratio").noconvert(),
             nb::arg("passages").noconvert(), nb::arg("frequencies").noconvert(),
             nb::arg("places").noconvert(), nb::arg("lengths").noconvert());
    nb::class_<NativeLists>(m, "TermLists")
        .def(nb::init<nb::list, nb::list>(), nb::arg("segments"), nb::arg("phrases"))
        .def("counts", &NativeLists::counts, nb::arg("live"))
        .def("best", &NativeLists::best, nb::arg("numbers"), nb::arg("weights"), nb::arg("mean"),
             nb::arg("selected"), nb::arg("limit"));
}
