// Passkeys on our own pages: browsers hand them to scripts alone (https://www.w3.org/TR/webauthn-3/). What comes of one is
// filled into the form, which is sent as any other.
"use strict";

const fromBase64Url = (text) => {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0)).buffer;
};

const toBase64Url = (buffer) => {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
};

const withIds = (list) => (list ?? []).map((it) => ({ ...it, id: fromBase64Url(it.id) }));

// Not every browser reads and writes these in JSON by itself.
const create = async (options) => {
  const credential = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: fromBase64Url(options.challenge),
      user: { ...options.user, id: fromBase64Url(options.user.id) },
      excludeCredentials: withIds(options.excludeCredentials),
    },
  });
  const response = credential.response;
  return {
    id: credential.id,
    rawId: toBase64Url(credential.rawId),
    type: credential.type,
    response: {
      clientDataJSON: toBase64Url(response.clientDataJSON),
      attestationObject: toBase64Url(response.attestationObject),
    },
  };
};

const get = async (options) => {
  const credential = await navigator.credentials.get({
    publicKey: {
      ...options,
      challenge: fromBase64Url(options.challenge),
      allowCredentials: withIds(options.allowCredentials),
    },
  });
  const response = credential.response;
  return {
    id: credential.id,
    rawId: toBase64Url(credential.rawId),
    type: credential.type,
    response: {
      clientDataJSON: toBase64Url(response.clientDataJSON),
      authenticatorData: toBase64Url(response.authenticatorData),
      signature: toBase64Url(response.signature),
      userHandle: response.userHandle && toBase64Url(response.userHandle),
    },
  };
};

const askShop = async () => {
  const answer = await fetch("/api/v1/passkeys/options", { method: "POST", credentials: "omit" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail);
  return body;
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const button = form.querySelector("button[type=button]");
  const complaint = form.querySelector("[role=alert]");
  if (!window.PublicKeyCredential) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    complaint.hidden = true;
    button.disabled = true;
    try {
      let credential;
      if (form.dataset.passkey === "create") {
        credential = await create(JSON.parse(form.dataset.options));
      } else {
        const { ceremony, options } = await askShop();
        form.elements.ceremony.value = ceremony;
        credential = await get(options);
      }
      form.elements.credential.value = JSON.stringify(credential);
      form.submit();
    } catch (error) {
      complaint.textContent = `That did not work: ${error.message}`;
      complaint.hidden = false;
      button.disabled = false;
    }
  });
}
