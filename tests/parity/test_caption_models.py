"""BERTScore, FENSE and the language model as a judge beside torch and transformers, on the same random weights and tokenizers."""

import numpy as np
import pytest

from audiojax.api.describing import caption_models as models
from audiojax.api.describing.caption_models import Said, llama_judge
from audiojax.metrics.captions import fense
from tests.api.caption_folders import CAPTIONS, bert_folder, detector_file, llama_folder, roberta_folder

torch = pytest.importorskip("torch")
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer  # noqa: E402

pytestmark = pytest.mark.parity
SAID = Said(
    ("a", "b", "c", "d"),
    ("a dog barks", "Heavy rain, and a bell rings.", "a bell rings, followed by footsteps", "thunder twice"),
    (CAPTIONS[:2], CAPTIONS[1:], CAPTIONS[1:2], CAPTIONS),
)
BASELINE = (0.2, 0.3, 0.25)


def states_of(folder, texts, layer):
    """Hidden states of each text in a batch of its own, and its ids."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = {}
    for text in texts:
        tokens = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], output_hidden_states=True).hidden_states
        found[text] = states[layer][0].double(), tokens["input_ids"][0].tolist()
    return found


def greedy(candidate, reference, weight):
    """(P, R, F1) of two texts."""
    (x, x_ids), (y, y_ids) = candidate, reference
    cosines = torch.nn.functional.cosine_similarity(x[:, None], y[None], dim=-1)
    shares = [torch.tensor([weight(token) for token in ids], dtype=torch.double) for ids in (x_ids, y_ids)]
    precision, recall = ((share * best).sum() / share.sum() for share, best in zip(shares, (cosines.amax(1), cosines.amax(0)), strict=True))
    return torch.stack([precision, recall, 2 * precision * recall / (precision + recall)])


@pytest.mark.parametrize("idf", [False, True])
@pytest.mark.parametrize(("write", "lead", "special"), [(bert_folder, "", (2, 3)), (roberta_folder, " ", (0, 2))])
def test_bertscore(tmp_path, write, lead, special, idf):
    folder, baseline = write(tmp_path / "model"), tmp_path / "baseline.tsv"
    baseline.write_text("LAYER,P,R,F\n1," + ",".join(map(str, BASELINE)) + "\n")
    model = models.BertScore(folder, layer=1, idf=idf, baseline=baseline, progress=False)
    found = np.stack(list(model.measure(SAID, False).values()), axis=1)
    references = [text for own in SAID.references for text in own]
    states = states_of(folder, [lead + text for text in {*SAID.captions, *references}], 1)
    documents = [set(states[lead + text][1]) for text in references]

    def weight(token):
        held = sum(token in document for document in documents)
        return 0 if token in special else float(np.log((len(documents) + 1) / (held + 1))) if idf else 1

    for row, caption, own in zip(found, SAID.captions, SAID.references, strict=True):
        scores = torch.stack([greedy(states[lead + caption], states[lead + text], weight) for text in own])
        expected = (scores.amax(0).numpy() - BASELINE) / (1 - np.array(BASELINE))
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


class Classifier(torch.nn.Module):
    """The detector's network as it was published."""

    def __init__(self, config, labels):
        super().__init__()
        self.encoder = AutoModel.from_config(config, add_pooling_layer=True)
        self.clf = torch.nn.Linear(config.hidden_size, labels)

    def forward(self, **tokens):
        return self.clf(self.encoder(**tokens).last_hidden_state[:, 0])


def test_fense(tmp_path):
    folder = bert_folder(tmp_path / "sbert")
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).config
    config.max_position_embeddings = 64
    torch.manual_seed(0)
    twin = Classifier(config, 6).eval()
    cleaned = [fense.without_punctuation(text) for text in SAID.captions]
    tokens = tokenizer(cleaned, return_tensors="pt", padding="max_length", max_length=64, truncation=True)
    with torch.no_grad():
        twin.clf.weight.normal_(0, 2)
        twin.clf.bias[-1] += np.log(9) - twin(**tokens)[:, -1].mean()  # about half of the captions are called broken
        expected = twin(**tokens).sigmoid()[:, -1].numpy()
    assert 0 < sum(expected > 0.9) < len(expected)
    saved = {"model_type": "prajjwal1/bert-tiny", "num_classes": 6, "state_dict": twin.state_dict()}
    torch.save(saved, tmp_path / "echecker.ckpt")
    model = models.Fense(folder, detector=tmp_path / "echecker.ckpt", progress=False)
    found = model.measure(SAID, False)
    means = {text: states.mean(0) for text, (states, _) in states_of(folder, {*SAID.captions, *CAPTIONS}, -1).items()}
    cosine = torch.nn.functional.cosine_similarity
    similar = [
        np.mean([float(cosine(means[text], means[one], dim=0)) for one in own])
        for text, own in zip(SAID.captions, SAID.references, strict=True)
    ]
    np.testing.assert_allclose(found["sbert"], similar, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model._probabilities(SAID.captions), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["fense"], np.where(expected > 0.9, 0.1, 1) * similar, rtol=1e-4, atol=1e-5)


def test_a_language_model(tmp_path):
    folder = llama_folder(tmp_path / "llama")
    found = models.LlamaJudge(folder, progress=False).measure(SAID, False)["judge"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for value, caption, own in zip(found, SAID.captions, SAID.references, strict=True):
        text = llama_judge.question(caption, own)
        chances = []
        for answer in (" yes", " no"):
            ids = tokenizer(text + answer)["input_ids"]
            first = next(i for i, pair in enumerate(zip(ids, tokenizer(text + " #")["input_ids"], strict=False)) if len({*pair}) == 2)
            with torch.no_grad():
                chances.append(float(model(torch.tensor([ids[:first]])).logits[0, -1].softmax(-1)[ids[first]]))
        assert value == pytest.approx(chances[0] / sum(chances), rel=1e-4)


def test_a_detector_without_torch_reads_the_same(tmp_path):
    """The file that other tests make is one that torch opens."""
    state = torch.load(detector_file(tmp_path / "x.ckpt"), weights_only=True)
    assert state["num_classes"] == 6
    assert state["state_dict"]["clf.weight"].shape == (6, 128)
