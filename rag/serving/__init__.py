"""An OpenAI-compatible server over the LLaMA engine (extra "serve"): what is asked, how a chat becomes a prompt, and the replies."""
